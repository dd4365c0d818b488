"""Every prompt the project builds: training, export, benchmark and the model card take it from here.

Format of the report's section 4.2, with the separators of e5-mistral and bge-en-icl:

    Instruct: {instruction}\\nQuery: {query}\\nResponse: {passage}\\n\\n      (each example)
    Instruct: {instruction}\\nQuery: {query}                                (then EOS, by the tokenizer)
"""

from collections.abc import Sequence


def query_prompt(instruction: str) -> str:
    """The prefix of a text that carries an instruction; the empty string for an empty instruction."""
    return f"Instruct: {instruction}\nQuery: " if instruction else ""


def example(instruction: str, query: str, response: str) -> str:
    """One few-shot example, ready to be put in front of a query."""
    return f"{query_prompt(instruction)}{query}\nResponse: {response}\n\n"


def few_shot_prompt(instruction: str, examples: Sequence[tuple[str, str]]) -> str:
    """The whole prefix of a query: examples, then the instruction.

    Args:
        instruction (`str`): The task's instruction.
        examples (`Sequence[tuple[str, str]]`): Pairs of query and response, already cut to length.
    """
    return "".join(example(instruction, q, r) for q, r in examples) + query_prompt(instruction)
