import { KernelSpec } from '@jupyterlab/services';

import { Model } from '../model/model';

/**
 * Have Lab read the kernelspecs again whenever the server says that they changed.
 *
 * Lab reads nothing while its page is hidden, not even when it is asked to: what was missed is made up for when the page
 * is seen again. By itself Lab reads them about once a minute.
 */
export function followKernels(
  model: Model,
  kernelspecs: KernelSpec.IManager
): void {
  let missed = false;
  const refresh = () => {
    missed = document.hidden;
    if (!missed) {
      void kernelspecs.refreshSpecs().catch(() => undefined);
    }
  };
  model.kernelsChanged.connect(refresh);
  document.addEventListener('visibilitychange', () => {
    if (missed) {
      refresh();
    }
  });
}
