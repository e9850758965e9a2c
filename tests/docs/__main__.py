"""Write every generated part of the documents, and of the chart but its golden renders: `make docs`."""

from __future__ import annotations

from tests.chart import write
from tests.docs.documents import documents
from tests.process import ROOT


def main() -> None:
    for path, text in (*write.chart(), *documents()):
        if path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
