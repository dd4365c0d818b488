"""`encode` and `search` on the command line; what they need is imported when one of them runs."""

import argparse


def add_commands(commands) -> None:
    """Adds them to those of `python -m anna_embed`."""
    encode = commands.add_parser("encode", help="vectors of a file of texts, however long it is")
    encode.add_argument("--input", required=True, metavar="FILE", help=".jsonl, .txt (a text a line), or - for stdin")
    encode.add_argument("--output", required=True, metavar="FILE", help=".npy, or .parquet with id, text, embedding")
    asked = encode.add_mutually_exclusive_group()
    asked.add_argument("--prompt_name", metavar="NAME", help="a stored prompt, put in front of each text")
    asked.add_argument("--prompt", metavar="TEXT", help="a prompt of your own")
    encode.set_defaults(run=encode_file)
    search = commands.add_parser("search", help="the texts of a corpus that are nearest to a query")
    search.add_argument("--corpus", required=True, metavar="FILE", help=".jsonl or .txt (a text a line)")
    search.add_argument("--query", required=True, nargs="+", action="extend", metavar="TEXT", help="what to look for")
    search.add_argument("--vectors", metavar="FILE.npy", help="keeps the corpus' vectors; <corpus>.npy by default")
    search.add_argument("--prompt_name", metavar="NAME", help="the queries' stored prompt; 'query' by default")
    search.add_argument("--top_k", type=int, default=10, metavar="N", help="texts for each query")
    search.set_defaults(run=show_hits)
    for command in (encode, search):
        command.add_argument("--model", required=True, metavar="M",
                             help="folder or Hub id of a SentenceTransformer that pools the last token")
        command.add_argument("--column", metavar="NAME", help="of the texts in a .jsonl; 'text' by default")
        command.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"),
                             help="of the weights; as they are stored by default")
        command.add_argument("--truncate_dim", type=positive, metavar="N", help="numbers of a vector to keep")
        command.add_argument("--batch_size", type=positive, default=32, metavar="N",
                             help="texts of a forward pass, about")
        command.add_argument("--device", help="cpu, cuda:1; the fastest there is by default")
        command.add_argument("--mirror", nargs="+", action="extend", default=[], metavar="FOLDER",
                             help="read the model from here instead of the Hub")


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not possible; write 1 or more")
    return int(text)


def encode_file(arguments: argparse.Namespace) -> None:
    load = _loader(arguments, prompt_name=arguments.prompt_name, prompt=arguments.prompt)

    from anna_embed.model.vector_files import write_vectors

    write_vectors("input", arguments.input, arguments.output, arguments.column, load, arguments.batch_size)


def show_hits(arguments: argparse.Namespace) -> None:
    load = _loader(arguments, document=True)

    from anna_embed.model.search import search, show

    for query, hits in search(arguments.corpus, arguments.query, arguments.vectors, arguments.column, load,
                              arguments.prompt_name, arguments.top_k, arguments.batch_size):
        print(f"\n{show(query, hits)}")


def _loader(arguments, **asked):
    from anna_embed.fetch import go_offline

    if arguments.mirror:
        go_offline()

    from anna_embed.model.loader import How, Loader

    how = How(arguments.model, dtype=arguments.dtype, truncate_dim=arguments.truncate_dim, **asked)
    return Loader(how, arguments.mirror, arguments.device)
