"""KuCoin's dialects: topics, wire messages (parse and format), REST answers, profiles."""
