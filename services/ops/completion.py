"""Prints a shell's completion of these commands: `pixelpipe completion bash > /etc/bash_completion.d/pixelpipe`.

For zsh it is a file `_pixelpipe` in a folder of `$fpath`, for fish ~/.config/fish/completions/pixelpipe.fish.
"""

from __future__ import annotations

import argparse

import shtab


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="for which shell")


async def run(options: argparse.Namespace) -> int:
    from services.ops import __main__ as commands  # which imports this

    print(shtab.complete(commands.parser(long=False), options.shell))  # a shell shows a line of each
    return 0
