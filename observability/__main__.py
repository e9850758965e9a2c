"""Write the chart's dashboards and made rules: `python -m observability`. Tests compare them byte for byte."""

from __future__ import annotations

from observability import generate


def main() -> None:
    for path, text in generate.files():
        path.write_text(text)


if __name__ == "__main__":
    main()
