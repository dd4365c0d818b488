"""One vector everywhere: tokenizer, export, encoding."""
