"""Slow, obvious versions of every predictor: one prefix at a time, numpy float64, the printed formula."""

import numpy as np

# ruff: noqa: ARG001
# Each takes the inputs X [n, d] and labels y [n] of the pairs before a point, and the point's input x [d].


def min_norm(X, y, x):
    return x @ np.linalg.lstsq(X, y, rcond=np.finfo(float).eps * max(X.shape))[0]


def on_the_signal(reference, eps):
    # What a predictor says of inputs whose directions of rounding, by the precision they came in, are taken out.
    def predict(X, y, x):
        if len(y) and len(x) > 1:
            left, values, right = np.linalg.svd(X, full_matrices=False)
            kept = values > eps * max(X.shape) * values[0]
            X = (left[:, kept] * values[kept]) @ right[kept]
        return reference(X, y, x)

    return predict


def ridge(penalty, mean=0.0):
    def predict(X, y, x):
        w0 = np.zeros(len(x)) + mean
        return x @ (w0 + np.linalg.solve(X.T @ X + penalty * np.eye(len(x)), X.T @ (y - X @ w0)))

    return predict


def gaussian_posterior(mean, root, noise):
    def predict(X, y, x):
        system = root.T @ X.T @ X @ root + noise**2 * np.eye(root.shape[1])
        return x @ mean + x @ root @ np.linalg.pinv(system, hermitian=True) @ root.T @ X.T @ (y - X @ mean)

    return predict


def discrete_mmse(pool, noise):
    def predict(X, y, x):
        logits = np.array([-np.sum((y - X @ t) ** 2) / (2 * noise**2) for t in pool])
        weights = np.exp(logits - logits.max())
        return x @ (weights @ pool / weights.sum())

    return predict


def context_mean(X, y, x):
    return y.mean() if len(y) else 0.0


def averaging(X, y, x):
    return x @ np.mean([label * row for label, row in zip(y, X, strict=True)], axis=0) if len(y) else 0.0


def nearest_neighbors(n_neighbors, inverse_square=False):
    def predict(X, y, x):
        if not len(y):
            return 0.0
        distances = np.linalg.norm(X - x, axis=1)
        nearest = np.argsort(distances, kind="stable")[:n_neighbors]
        if not inverse_square:
            return y[nearest].mean()
        if distances[nearest[0]] == 0:
            return y[[i for i in nearest if distances[i] == 0]].mean()
        return np.average(y[nearest], weights=distances[nearest] ** -2.0)

    return predict


def gradient_descent(steps, step_size, count=None):
    def predict(X, y, x):
        w = np.zeros(len(x))
        for _ in range(steps):
            w = w - step_size / (count or max(len(y), 1)) * X.T @ (X @ w - y)
        return x @ w

    return predict


def gradient_descent_per_prefix(steps):
    def predict(X, y, x):
        top = np.linalg.norm(X, 2) ** 2 if len(y) else 0.0
        return gradient_descent(steps, 1 / top, count=1)(X, y, x) if top > 0 else 0.0

    return predict


def gd_plus_plus(step_sizes, curvatures):
    # Token by token as in the paper: residuals and inputs, those of the query too, all change at once.
    def predict(X, y, x):
        residuals, answer, count = y.copy(), 0.0, max(len(y), 1)
        for eta, gamma in zip(step_sizes, curvatures, strict=True):
            moment, second = X.T @ residuals / count, X.T @ X / count
            answer += eta * x @ moment
            residuals = residuals - eta * X @ moment
            x = x - gamma * second @ x
            X = X - gamma * X @ second
        return answer

    return predict


def gd_learned_init(beta, gamma):
    def predict(X, y, x):
        return (beta - gamma @ X.T @ (X @ beta - y) / max(len(y), 1)) @ x

    return predict


def online(step_size=None):
    def predict(X, y, x):
        w = np.zeros(len(x))
        for row, label in zip(X, y, strict=True):
            square = row @ row
            rate = step_size if step_size is not None else (1 / square if square > 0 else 0.0)
            w = w + rate * (label - w @ row) * row
        return x @ w

    return predict


def newton(steps, scaling=1.0):
    def predict(X, y, x):
        S = X.T @ X
        norm = np.linalg.norm(S @ S, "fro" if scaling == "frobenius" else 2)
        M = (1.0 if scaling == "frobenius" else scaling) / norm * S if norm > 0 else 0 * S
        for _ in range(steps):
            M = 2 * M - M @ S @ M
        return x @ M @ X.T @ y

    return predict


def conjugate_gradient(steps):
    def predict(X, y, x):
        krylov = [X.T @ y]
        for _ in range(steps - 1):
            krylov.append(X.T @ (X @ krylov[-1]))
        left, values, _ = np.linalg.svd(np.array([v / (np.linalg.norm(v) or 1) for v in krylov]).T, full_matrices=False)
        basis = left[:, values > 1e-7]
        return x @ basis @ np.linalg.lstsq(X @ basis, y, rcond=None)[0] if basis.size and len(y) else 0.0

    return predict


def lasso(penalty):
    def predict(X, y, x):
        # Coordinate descent on |Xw - y|^2 / (2n) + penalty |w|_1, far beyond convergence.
        w, n = np.zeros(len(x)), max(len(y), 1)
        squares = (X**2).sum(axis=0) / n
        for _ in range(400):
            for j in np.flatnonzero(squares):
                pull = X[:, j] @ (y - X @ w) / n + squares[j] * w[j]
                w[j] = np.sign(pull) * max(abs(pull) - penalty, 0) / squares[j]
        return x @ w

    return predict


def preprocess_then_gradient_descent(steps, step_size=None):
    def predict(X, y, x):
        if not len(y):
            return 0.0
        R = np.diag(X.T @ y / len(y))
        top = np.linalg.norm(X @ R, 2) ** 2 / len(y)
        rate = step_size if step_size is not None else (1 / top if top > 0 else 0.0)
        return gradient_descent(steps, rate)(X @ R, y, R @ x)

    return predict


def running_least_squares(X, y, x):
    return min_norm(np.column_stack([X, np.ones(len(y))]), y, np.append(x, 1.0))


def copy_last(X, y, x):
    return y[-1] if len(y) else x[0]


def linear_extrapolation(X, y, x):
    return 2 * y[-1] - X[-1, 0] if len(y) else x[0]


def affine_recurrence(X, y, x):
    s = X[:, 0]
    gaps = np.abs(np.diff(s))
    if not len(gaps) or gaps.max() == 0:
        return copy_last(X, y, x)
    i = gaps.argmax()
    return y[i] + (y[i + 1] - y[i]) / (s[i + 1] - s[i]) * (x[0] - s[i])
