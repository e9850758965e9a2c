"""Write the chart's dashboards and made rules: `python -m services.local.mixin`. Tests compare them byte for byte."""

from __future__ import annotations

from services.local.mixin import made


def main() -> None:
    for path, text in made.files():
        path.write_text(text)


if __name__ == "__main__":
    main()
