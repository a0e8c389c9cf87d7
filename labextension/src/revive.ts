import { ISessionContext } from '@jupyterlab/apputils';
import { Kernel } from '@jupyterlab/services';

import { KERNEL_KEY } from './tokens';

/** Give all of these one kernel of that name, instead of one that has ended. Lab shows a dialog where that fails. */
export async function revive(
  name: string,
  contexts: readonly ISessionContext[]
): Promise<void> {
  let kernel: Kernel.IKernelConnection | null = null;
  for (const context of contexts.filter(({ isDisposed }) => !isDisposed)) {
    const model: Partial<Kernel.IModel> = kernel ? { id: kernel.id } : { name };
    kernel = (await context.changeKernel(model)) ?? kernel;
  }
}

/**
 * Make "Restart" work where a kernel of ours is dead, as it is after its environment was stopped.
 *
 * Lab has all its commands call this method, which refuses to restart a kernel that is dead and tells nobody.
 *
 * `others`: who else had that kernel.
 */
export function restartWhenDead(
  context: ISessionContext,
  others: (kernel: string) => readonly ISessionContext[]
): void {
  const restart = context.restartKernel.bind(context);
  context.restartKernel = async () => {
    const kernel = context.session?.kernel;
    if (kernel?.status === 'dead' && isOurs(context, kernel.name)) {
      const rest = others(kernel.id).filter(other => other !== context);
      await revive(kernel.name, [context, ...rest]);
    } else {
      await restart();
    }
  };
}

function isOurs({ specsManager }: ISessionContext, name: string): boolean {
  const spec = specsManager.specs?.kernelspecs[name];
  return spec?.metadata?.[KERNEL_KEY] !== undefined;
}
