"""GoogleSQL's own analyzer and evaluator, which decides what the BigQuery emulator may answer.

The `zetasql` package carries Google's C++ code as WebAssembly. Compiling it takes a minute and a gigabyte, so it is
done once a machine and the machine code is kept in the user's cache; opening that takes a fraction of a second. The
package's own Python layers compile at every start, hence the local service's protobufs are spoken here directly.

GoogleSQL is the language, not the product: it knows no partition filters, no dry runs and no duplicate column names.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import platform
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tests import tools
from tests.emulators.bigquery import oracle_values as values

COMPILING_SECONDS = 600.0  # at most, with all workers of a small machine at work
INSTALL = "pip install zetasql, or `make install`"
# What the language can do and BigQuery's documentation does not promise.
WITHOUT = (
    "FEATURE_ARRAY_EQUALITY",
    "FEATURE_CONCAT_MIXED_TYPES",
    "FEATURE_JSON_TYPE_COMPARISON",
    "FEATURE_SPANNER_LEGACY_DDL",
    "FEATURE_TIMESTAMP_NANOS",
    "FEATURE_TIMESTAMP_PICOS",
)
ALSO_RESERVED = ("QUALIFY",)  # a keyword that each product may reserve; BigQuery does

# The types a column can have here, as GoogleSQL names them.
Columns = Mapping[str, str]


class SqlRefused(Exception):
    """GoogleSQL does not take the statement, or cannot compute it; the text is its own."""


class Aborted(Exception):
    """GoogleSQL's code trapped, which says nothing about the statement."""


@dataclass(frozen=True)
class Table:
    """A table by its full name (`project.dataset.name`), its columns' types, and rows in their order.

    With the types of `arguments` it is a table function, which can be analyzed and not evaluated.
    """

    name: str
    columns: Columns
    rows: Sequence[Sequence[Any]] = ()
    arguments: Sequence[str] | None = None

    def names(self) -> list[list[str]]:
        """Every path that a query may write for it, in one part or several."""
        project, dataset, name = self.name.split(".")
        return [[self.name], [f"{dataset}.{name}"], [dataset, name], [project, dataset, name], [name]]


@functools.cache
def oracle() -> Oracle:
    """The one of this process. Where the package is missing the test is skipped, or fails in CI."""
    try:
        import wasmtime  # noqa: F401
        import zetasql  # noqa: F401
    except ImportError:
        tools.missing(f"needs GoogleSQL's evaluator: {INSTALL}")
    return Oracle(_compiled())


def _config() -> Any:
    import wasmtime

    config = wasmtime.Config()
    config.shared_memory = True
    return config


@contextmanager
def _not_on_the_tests_time() -> Iterator[None]:
    """Whichever test comes first compiles, others wait for that: pytest-timeout's alarm starts again where it was."""
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    if left:
        signal.setitimer(signal.ITIMER_REAL, COMPILING_SECONDS)
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left)


def _compiled() -> Path:
    """The machine code in the cache, made under a lock by the first who asks."""
    import wasmtime
    from zetasql.wasi import get_wasm_path

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixelpipe"
    folder.mkdir(parents=True, exist_ok=True)
    versions = [f"{name}-{metadata.version(name)}" for name in ("zetasql", "wasmtime")]
    path = folder / f"{'-'.join(versions)}-{platform.machine()}.cwasm"
    with _not_on_the_tests_time(), (folder / "zetasql.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            module = wasmtime.Module.from_file(wasmtime.Engine(_config()), str(get_wasm_path()))
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_bytes(module.serialize())
            unfinished.rename(path)
    return path


class Oracle:
    """Analyzes and evaluates one statement at a time; not for use by several threads."""

    def __init__(self, compiled: Path) -> None:
        import wasmtime

        self._engine = wasmtime.Engine(_config())
        self._module = wasmtime.Module.deserialize_file(self._engine, str(compiled))
        self._open()

    def _open(self) -> None:
        """A new instance of the module: after a trap the old one is of no use."""
        import tzdata
        import wasmtime

        wasi = wasmtime.WasiConfig()
        wasi.preopen_dir(str(Path(str(tzdata.__file__)).parent / "zoneinfo"), "/usr/share/zoneinfo")
        self._store = wasmtime.Store(self._engine)
        self._store.set_wasi(wasi)
        linker = wasmtime.Linker(self._engine)
        linker.define_wasi()
        self._exports = linker.instantiate(self._store, self._module).exports(self._store)
        self._exports["_initialize"](self._store)
        self._base = ctypes.addressof(self._exports["memory"].data_ptr().contents)
        self._options = self._language_options()
        self._catalogs: dict[str, int] = {}

    def analyze(self, sql: str, tables: Sequence[Table] = (), parameters: Columns | Sequence[str] = ()) -> None:
        """Check any one statement; `SqlRefused` when it is no good GoogleSQL."""
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as wire

        options = self._analyzer_options(parameters)
        known = self._registered(tables)
        self._call("Analyze", wire.AnalyzeRequest(sql_statement=sql, options=options, registered_catalog_id=known))

    def evaluate(self, sql: str, tables: Sequence[Table] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query, as the official client gives them; JSON parsed. `SqlRefused` for any error.

        Tables are named whole and in one part: `project.dataset.name` in backquotes.
        """
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as wire

        known = self._registered(tables)
        request = wire.EvaluateQueryRequest(sql=sql, options=self._analyzer_options(()), registered_catalog_id=known)
        answer = wire.EvaluateQueryResponse.FromString(self._call("EvaluateQuery", request))
        types = [column.type for column in answer.prepared.columns]
        return [
            tuple(values.decode(type_, cell) for type_, cell in zip(types, row.cell, strict=True))
            for row in answer.content.table_data.row
        ]

    def _language_options(self) -> Any:
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as wire
        from zetasql.wasi._pb2.zetasql.proto import options_pb2
        from zetasql.wasi._pb2.zetasql.public import options_pb2 as public

        request = wire.LanguageOptionsRequest(maximum_features=True)
        options = options_pb2.LanguageOptionsProto.FromString(self._call("GetLanguageOptions", request))
        kept = [
            feature
            for feature in options.enabled_language_features
            if public.LanguageFeature.Name(feature) not in WITHOUT
        ]
        del options.enabled_language_features[:]
        options.enabled_language_features.extend(kept)
        options.product_mode = public.PRODUCT_EXTERNAL
        options.reserved_keywords.extend(ALSO_RESERVED)
        del options.supported_statement_kinds[:]  # none named: all
        return options

    def _analyzer_options(self, parameters: Columns | Sequence[str]) -> Any:
        from zetasql.wasi._pb2.zetasql.proto import options_pb2
        from zetasql.wasi._pb2.zetasql.public import options_pb2 as public

        options = options_pb2.AnalyzerOptionsProto(language_options=self._options, default_timezone="UTC")
        if isinstance(parameters, Mapping):
            for name, type_ in parameters.items():
                options.query_parameters.add(name=name, type=values.type_of(type_))
        else:
            options.positional_query_parameters.extend(values.type_of(type_) for type_ in parameters)
            if parameters:
                options.parameter_mode = public.PARAMETER_POSITIONAL
        return options

    def _registered(self, tables: Sequence[Table]) -> int:
        """The id of a catalog of these tables: to make one takes longer than most statements."""
        from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as wire

        key = repr(tables)
        if key not in self._catalogs:
            request = wire.RegisterCatalogRequest(simple_catalog=self._catalog(tables))
            for table in tables:
                data = request.table_content[table.name].table_data
                for row in table.rows:
                    cells = zip(table.columns.values(), row, strict=True)
                    data.row.add().cell.extend(values.encode(type_, value) for type_, value in cells)
            answer = wire.RegisterResponse.FromString(self._call("RegisterCatalog", request))
            self._catalogs[key] = answer.registered_id
        return self._catalogs[key]

    def _catalog(self, tables: Sequence[Table]) -> Any:
        from zetasql.wasi._pb2.zetasql.proto import simple_catalog_pb2

        catalog = simple_catalog_pb2.SimpleCatalogProto(name="catalog")
        catalog.builtin_function_options.language_options.CopyFrom(self._options)
        number, taken = 0, set[tuple[str, ...]]()
        for table in tables:
            for path in table.names():
                if tuple(path) in taken:
                    continue  # the same name in another dataset
                taken.add(tuple(path))
                inside = catalog
                for name in path[:-1]:
                    known = [item for item in inside.catalog if item.name == name]
                    inside = known[0] if known else inside.catalog.add(name=name)
                number += 1
                if table.arguments is not None:
                    _add_function(inside, path[-1], table)
                    continue
                made = inside.table.add(name=path[-1], serialization_id=number)
                for name, type_ in table.columns.items():
                    made.column.add(name=name, type=values.type_of(type_), is_writable_column=True)
        return catalog

    def _call(self, method: str, request: Any) -> bytes:
        import wasmtime

        try:
            return self._called(method, request.SerializeToString())
        except (wasmtime.Trap, wasmtime.ExitTrap, wasmtime.WasmtimeError) as error:
            self._open()
            raise Aborted(str(error).split("\n", 1)[0]) from error

    def _called(self, method: str, data: bytes) -> bytes:
        exports, store = self._exports, self._store
        given, size = exports["wasm_malloc"](store, max(len(data), 1)), exports["wasm_malloc"](store, 4)
        ctypes.memmove(self._base + given, data, len(data))
        try:
            answer = exports[f"ZetaSqlLocalService_{method}"](store, given, len(data), size)
            if answer == 0:
                length = exports["wasm_get_last_error_size"](store)
                text = self._read(exports["wasm_get_last_error"](store), length).decode("utf-8", "replace")
                raise SqlRefused(text)
            found = self._read(answer, int.from_bytes(self._read(size, 4), "little"))
            exports["wasm_free"](store, answer)
            return found
        finally:
            exports["wasm_free"](store, given)
            exports["wasm_free"](store, size)

    def _read(self, place: int, length: int) -> bytes:
        return ctypes.string_at(self._base + (place & 0xFFFFFFFF), length)


def _add_function(catalog: Any, name: str, table: Table) -> None:
    from zetasql.wasi._pb2.zetasql.public import function_pb2

    signature = catalog.custom_tvf.add(
        name_path=[name], type=function_pb2.FunctionEnums.FIXED_OUTPUT_SCHEMA_TVF
    ).signature
    for type_ in table.arguments or ():
        signature.argument.add(kind=function_pb2.ARG_TYPE_FIXED, type=values.type_of(type_), num_occurrences=1)
    signature.return_type.kind = function_pb2.ARG_TYPE_RELATION
    signature.return_type.num_occurrences = 1
    relation = signature.return_type.options.relation_input_schema
    for column, type_ in table.columns.items():
        relation.column.add(name=column, type=values.type_of(type_))
