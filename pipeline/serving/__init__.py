"""Answers for other programs and for a shop's pages: the OpenAI API in front of the ways to answer."""
