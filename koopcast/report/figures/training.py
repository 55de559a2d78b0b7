"""Loss against epoch."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from koopcast.report.style import INK, SERIES, Picture, draw, sentence


def training_curve(history: pd.DataFrame, model: str, name: str) -> Picture:
    """Draw training and validation loss, and the epoch that was kept.

    Args:
        history: Columns `epoch`, `train_loss`; `valid_loss` where there is a `valid` part.
        model: Whose training it was.
        name: Of the picture.
    """
    has_valid = "valid_loss" in history and bool(history["valid_loss"].notna().any())
    best = history.sort_values("valid_loss").iloc[0] if has_valid else history.iloc[-1]

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        axes.semilogy(history["epoch"], history["train_loss"], color=SERIES[0], label="training")
        if has_valid:
            axes.semilogy(history["epoch"], history["valid_loss"], color=SERIES[1], label="validation")
            axes.plot(best["epoch"], best["valid_loss"], "o", color=INK, markersize=5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.legend(loc="upper right")

    title = f"{sentence(model)}: training"
    kept = f" The dot is the best epoch, {int(best['epoch'])}." if has_valid else ""
    caption = f"Validation that rises while training falls is over-fitting.{kept}"
    last = f"final training loss {history['train_loss'].iloc[-1]:.3g}"
    return Picture(name, title, caption, f"{title}: {len(history)} epochs, {last}", draw(plot))
