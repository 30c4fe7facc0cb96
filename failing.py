def fail(x):
    return x['ä'] / 0 + x['b']
