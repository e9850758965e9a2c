"""Write the chart's dashboards, rules and alerts: `python -m observability`. Tests compare them byte for byte."""

from __future__ import annotations

from observability import generate


def main() -> None:
    for path, text in generate.files():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for path in generate.left_over():
        path.unlink()


if __name__ == "__main__":
    main()
