/** The names that we register, and those that the server half gives. */

/** Each can be disabled by itself: `jupyter labextension disable <id>`. */
export namespace PluginIDs {
  /** Has the settings; its schema is schema/plugin.json. */
  export const settings = 'jupyter-mlenv:plugin';
  export const model = 'jupyter-mlenv:model';
  export const tabs = 'jupyter-mlenv:tabs';
  export const launcher = 'jupyter-mlenv:launcher';
  export const running = 'jupyter-mlenv:running';
  export const kernels = 'jupyter-mlenv:kernels';
}

/** The page option that the server half sets. Without it this extension stays silent. */
export const PAGE_OPTION = 'mlenv';

/** The key in the metadata of our kernelspecs, and of what is said about our kernels. */
export const KERNEL_KEY = 'jupyter-mlenv';

export namespace CommandIDs {
  export const start = 'mlenv:start';
  export const open = 'mlenv:open';
  export const openTensorBoard = 'mlenv:open-tensorboard';
  export const openInBrowser = 'mlenv:open-in-browser';
  export const openPort = 'mlenv:open-port';
  export const stop = 'mlenv:stop';
  export const restart = 'mlenv:restart';
  export const remove = 'mlenv:remove';
  export const showLog = 'mlenv:show-log';
  export const cancel = 'mlenv:cancel';
}
