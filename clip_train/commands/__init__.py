"""What each command does with its options; `clip_train.__main__` only parses.

training  train, tokenizer      evaluating  evaluate …      adapting  finetune      using  classify and other use
"""
