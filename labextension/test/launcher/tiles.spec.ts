import { ILauncher } from '@jupyterlab/launcher';
import { DisposableDelegate } from '@lumino/disposable';

import { Tiles } from '../../src/launcher/tiles';
import { Model } from '../../src/model/model';
import { Server, settled } from '../support';
import { trans } from '../window';

describe('the tiles', () => {
  let server: Server;
  let model: Model;
  let there: ILauncher.IItemOptions[];
  let shown = true;

  const launcher = {
    add: (item: ILauncher.IItemOptions) => {
      there.push(item);
      return new DisposableDelegate(() => {
        there = there.filter(other => other !== item);
      });
    }
  } as unknown as ILauncher;

  const names = () =>
    [...there]
      .sort((one, other) => one.rank! - other.rank!)
      .map(({ args }) => args?.preset);

  async function give(...presets: string[]): Promise<void> {
    server.answers['GET presets'] = {
      body: {
        presets: presets.map(name => ({ name, title: name })),
        errors: [],
        workspace: null
      }
    };
    await model.refreshPresets();
    await settled();
  }

  beforeEach(() => {
    there = [];
    shown = true;
    server = new Server();
    model = new Model(server.api);
  });

  afterEach(() => model.dispose());

  it("are the presets in the server's order, and follow them", async () => {
    const tiles = new Tiles(launcher, model, () => shown, trans);
    await give('own', 'python');
    expect(names()).toEqual(['own', 'python']);
    await give('python');
    expect(names()).toEqual(['python']);
    tiles.dispose();
    expect(names()).toEqual([]);
    await give('jax');
    expect(names()).toEqual([]);
  });

  it('go and come with the setting', async () => {
    const tiles = new Tiles(launcher, model, () => shown, trans);
    await give('python');
    shown = false;
    tiles.update();
    expect(names()).toEqual([]);
    shown = true;
    tiles.update();
    expect(names()).toEqual(['python']);
  });
});
