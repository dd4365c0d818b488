"""What the package knows, on the command line.

    python -m anna_embed sources            the table of known sources
    python -m anna_embed sources SQuAD      all of one: instruction, columns, MTEB tasks it covers, traps
"""

import argparse

from anna_embed.parsing import one_sentence


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m anna_embed", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="command")
    sources = commands.add_parser("sources", help="the table of known sources, or all that it says of some")
    sources.add_argument("names", nargs="*", metavar="task", help="show these in full")
    sources.set_defaults(run=show_sources)
    arguments = parser.parse_args(argv)
    arguments.run(arguments)


def show_sources(arguments: argparse.Namespace) -> None:
    from anna_embed.data.tasks import show_source, show_table

    print("\n\n".join(map(show_source, arguments.names)) if arguments.names else show_table())


if __name__ == "__main__":
    with one_sentence():
        main()
