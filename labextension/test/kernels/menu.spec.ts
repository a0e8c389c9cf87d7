import { KernelSpec } from '@jupyterlab/services';

import { followKernels } from '../../src/kernels/menu';
import { Model } from '../../src/model/model';
import { Server, Socket } from '../support';

/** Switch to another tab of the browser, or back. */
function hide(hidden: boolean): void {
  jest.spyOn(document, 'hidden', 'get').mockReturnValue(hidden);
  document.dispatchEvent(new Event('visibilitychange'));
}

describe('the kernel menu', () => {
  let model: Model;
  let refreshSpecs: jest.Mock;

  beforeEach(() => {
    Socket.all = [];
    model = new Model(new Server().api);
    refreshSpecs = jest.fn(() => Promise.reject(new Error('the network')));
    followKernels(model, { refreshSpecs } as unknown as KernelSpec.IManager);
    model.connect();
    Socket.last.open();
    Socket.last.snapshot();
  });

  afterEach(() => {
    model.dispose();
    jest.restoreAllMocks();
  });

  it('is read again when kernels changed', () => {
    Socket.last.say({ type: 'kernels' });
    Socket.last.say({ type: 'kernels' });
    expect(refreshSpecs).toHaveBeenCalledTimes(2);
    hide(false);
    expect(refreshSpecs).toHaveBeenCalledTimes(2);
  });

  it('is read again when a page is seen that was hidden then', () => {
    hide(true);
    Socket.last.say({ type: 'kernels' });
    Socket.last.say({ type: 'kernels' });
    expect(refreshSpecs).not.toHaveBeenCalled();
    hide(false);
    hide(false);
    expect(refreshSpecs).toHaveBeenCalledTimes(1);
  });
});
