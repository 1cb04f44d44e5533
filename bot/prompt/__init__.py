"""The language of prompts: text, then flags. Pure text in, frozen data out; knows neither Discord nor models."""
