"""Run by every IPython in an environment when it starts, so it is short; it leaves no name behind."""

# mypy: ignore-errors


def _mlenv(shell):
    held = []

    def before(info):
        try:
            cell = info.raw_cell or ""
            if "install" in cell or "apk add" in cell:
                import importlib.util  # noqa: PLC0415

                # By its path: what a notebook imports by the name is its own.
                spec = importlib.util.spec_from_file_location(
                    "mlenv_installed", "/opt/jupyter-mlenv/mlenv_agent/ipython/installed.py"
                )
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                held[:] = [info, module.Installation()]
        except Exception:  # noqa: BLE001, S110  a cell must not seem to have failed
            pass

    def after(result):
        try:
            if held and held[0] is result.info:
                installation = held.pop()
                held.clear()
                installation.tell(result.info.raw_cell)
        except Exception:  # noqa: BLE001, S110  as above
            pass

    shell.events.register("pre_run_cell", before)
    shell.events.register("post_run_cell", after)


_mlenv(get_ipython())  # noqa: F821
del _mlenv
