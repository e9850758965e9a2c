"""What the bodies of requests look like, so that a value of the wrong JSON type is refused where it comes in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from emulators.bigquery.errors import invalid

# A shape is a type, a mapping of the keys that are read, or a list with the shape of its items. Null is always allowed.
SCALAR = "scalar"
INT64 = re.compile(r"-?\d{1,19}")

FIELD: dict[str, Any] = {"name": str, "type": str, "mode": str, "description": str, "policyTags": dict}
FIELD["fields"] = [FIELD]
SCHEMA = {"fields": [FIELD]}
LABELS = dict
DATASET_REFERENCE = {"projectId": str, "datasetId": str}
TABLE_REFERENCE = {**DATASET_REFERENCE, "tableId": str}
PARTITIONING = {"type": str, "field": str, "expirationMs": int, "requirePartitionFilter": bool}
CLUSTERING = {"fields": [str]}

DATASET = {
    "datasetReference": DATASET_REFERENCE,
    "description": str,
    "friendlyName": str,
    "labels": LABELS,
    "location": str,
    "access": list,
    "isCaseInsensitive": bool,
    "maxTimeTravelHours": int,
}
TABLE = {
    "tableReference": TABLE_REFERENCE,
    "schema": SCHEMA,
    "view": {"query": str, "useLegacySql": bool, "userDefinedFunctionResources": list},
    "timePartitioning": PARTITIONING,
    "clustering": CLUSTERING,
    "requirePartitionFilter": bool,
    "description": str,
    "friendlyName": str,
    "labels": LABELS,
}
DATA_TYPE: dict[str, Any] = {"typeKind": str}
DATA_TYPE["arrayElementType"] = DATA_TYPE
DATA_TYPE["structType"] = {"fields": [{"name": str, "type": DATA_TYPE}]}
ROUTINE = {
    "routineReference": {**DATASET_REFERENCE, "routineId": str},
    "routineType": str,
    "language": str,
    "arguments": [{"name": str, "argumentKind": str, "dataType": DATA_TYPE}],
    "definitionBody": str,
    "description": str,
}
PARAMETER_TYPE: dict[str, Any] = {"type": str, "structTypes": list}
PARAMETER_TYPE["arrayType"] = PARAMETER_TYPE
PARAMETER_VALUE: dict[str, Any] = {"value": SCALAR, "structValues": dict}
PARAMETER_VALUE["arrayValues"] = [PARAMETER_VALUE]
QUERY = {
    "query": str,
    "useLegacySql": bool,
    "defaultDataset": DATASET_REFERENCE,
    "queryParameters": [{"name": str, "parameterType": PARAMETER_TYPE, "parameterValue": PARAMETER_VALUE}],
    "parameterMode": str,
    "useQueryCache": bool,
    "maximumBytesBilled": int,
    "destinationTable": TABLE_REFERENCE,
    "writeDisposition": str,
    "createDisposition": str,
    "allowLargeResults": bool,
}
QUERY_REQUEST = {
    **QUERY,
    "timeoutMs": int,
    "maxResults": int,
    "formatOptions": {"useInt64Timestamp": SCALAR, "timestampOutputFormat": str},
    "dryRun": bool,
    "labels": LABELS,
}
LOAD = {
    "destinationTable": TABLE_REFERENCE,
    "schema": SCHEMA,
    "sourceFormat": str,
    "createDisposition": str,
    "writeDisposition": str,
    "timePartitioning": PARTITIONING,
    "clustering": CLUSTERING,
    "ignoreUnknownValues": bool,
    "maxBadRecords": int,
    "autodetect": bool,
    "encoding": str,
    "sourceUris": [str],
    "parquetOptions": dict,
}
JOB = {
    "jobReference": {"projectId": str, "jobId": str, "location": str},
    "configuration": {"query": QUERY, "load": LOAD, "labels": LABELS, "dryRun": bool, "jobTimeoutMs": int},
}
WORDS = {str: "a string", bool: "true or false", int: "an integer", dict: "an object", list: "a list"}


def check(value: Any, shape: Any, path: str = "") -> None:
    """ApiError 400 naming the first value that is not of the shape."""
    if value is None:
        return
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            raise _wrong(path, "an object")
        for key, inner in shape.items():
            if key in value:
                check(value[key], inner, f"{path}.{key}" if path else key)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise _wrong(path, "a list")
        for place, item in enumerate(value):
            if item is None:
                raise _wrong(f"{path}[{place}]", "a value")
            check(item, shape[0], f"{path}[{place}]")
    elif shape is SCALAR:
        if isinstance(value, (dict, list)):
            raise _wrong(path, "a single value")
    elif shape is int:
        # 64 bits come as a number or as its digits.
        if isinstance(value, (bool, float, dict, list)) or not INT64.fullmatch(str(value)):
            raise _wrong(path, WORDS[int])
    elif not isinstance(value, shape):
        raise _wrong(path, WORDS[shape])


def _wrong(path: str, expected: str) -> Exception:
    return invalid(f"Invalid value at '{path}': {expected} is expected")
