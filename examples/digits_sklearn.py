"""A task without torch: scikit-learn's linear classifier, trained by `partial_fit`.

The digits that come with scikit-learn are shared out among the nodes; node.toml says how:

    [tasks.digits-sklearn]
    file = "digits_sklearn.py"
    part = 0
    parts = 3
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from muster.learning.task import Task

CLASSES = np.arange(10)


class DigitsSklearn(Task):
    name = "digits-sklearn"
    version = "1"
    measures_common = True  # every node has the same 360 digits to measure on

    def __init__(self, **options):
        super().__init__(**options)
        x, y = load_digits(return_X_y=True)
        order = np.random.default_rng(1998).permutation(len(y))
        x, y = x[order] / 16.0, y[order]
        self.held_out = x[:360], y[:360]
        self.x, self.y = self.mine(x[360:], y[360:])

    def initial(self, seed):
        return {"coef": np.zeros((10, 64), np.float32), "intercept": np.zeros(10, np.float32)}

    def classifier(self, arrays, lr=0.1):
        model = SGDClassifier(loss="log_loss", penalty=None, learning_rate="constant", eta0=lr, shuffle=False)
        model.partial_fit(self.x[:1], self.y[:1], classes=CLASSES)  # so that it has its arrays
        model.coef_, model.intercept_ = arrays["coef"].astype(float), arrays["intercept"].astype(float)
        return model

    def fit(self, arrays, steps, seed):
        rng = np.random.default_rng(seed)
        model = self.classifier(arrays, self.recipe.lr)
        for step in range(steps):
            chosen = rng.choice(len(self.y), min(self.recipe.batch, len(self.y)), replace=False)
            model.partial_fit(self.x[chosen], self.y[chosen])
            self.recipe.report(step + 1)
        return {"coef": model.coef_, "intercept": model.intercept_}, len(self.y), {}

    def measure(self, arrays):
        x, y = self.held_out
        likely = np.clip(self.classifier(arrays).predict_proba(x), 1e-7, 1.0)
        right = (likely.argmax(1) == y).sum()
        return {"accuracy": (right, len(y)), "loss": (-np.log(likely[np.arange(len(y)), y]).sum(), len(y))}
