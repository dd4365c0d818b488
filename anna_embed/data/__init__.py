"""What the Hub's datasets become: sources, conversion to pairs, the audit against test sets."""
