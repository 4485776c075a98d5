"""What a word is, in baselines and in scores of texts."""

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Chinese characters, within the brackets of a pattern
WORD = rf"[{HAN}]|[^\W{HAN}]{{2,}}"  # a word; apart from Han, this is scikit-learn's own pattern
