import { ISessionContext } from '@jupyterlab/apputils';
import { Kernel } from '@jupyterlab/services';

import { KERNEL_KEY } from '../ids';

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
 * Make Lab's "Restart" work where a kernel of ours is dead, as it is after its environment was stopped.
 *
 * All of Lab's commands and buttons for that call this method of the one object, and it does nothing for a dead kernel.
 *
 * `having`: who had a kernel that ended.
 */
export function restartDeadOnes(
  dialogs: Pick<ISessionContext.IDialogs, 'restart'>,
  having: (kernel: string) => readonly ISessionContext[]
): void {
  const restart = dialogs.restart.bind(dialogs);
  dialogs.restart = async (context, options) => {
    const kernel = context.session?.kernel;
    if (kernel?.status !== 'dead' || !isOurs(context, kernel.name)) {
      return restart(context, options);
    }
    await options?.onBeforeRestart();
    const others = having(kernel.id).filter(other => other !== context);
    await revive(kernel.name, [context, ...others]);
    return true;
  };
}

function isOurs({ specsManager }: ISessionContext, name: string): boolean {
  const spec = specsManager.specs?.kernelspecs[name];
  return spec?.metadata?.[KERNEL_KEY] !== undefined;
}
