import { PresetList } from '../../src/model/presetlist';
import { Server } from '../support';

const PROBLEM = {
  code: 'preset_invalid',
  message: '`image.pipp` is not a known setting.',
  hint: '',
  details: { file: '/home/ada/projects/churn/mlenv.toml' },
  log: []
};

describe('the presets of a folder', () => {
  let server: Server;
  let list: PresetList;

  beforeEach(() => {
    server = new Server();
    list = new PresetList(server.api);
  });

  afterEach(() => list.dispose());

  const answer = (errors: object[], workspace: string | null) => {
    server.answers['GET presets'] = {
      body: { presets: [], errors, workspace }
    };
  };

  it('come with what is wrong with others, told once', async () => {
    const told = jest.fn();
    list.problemsChanged.connect(told);
    answer([PROBLEM], '/home/ada/projects/churn');
    await list.refresh('projects/churn');
    await list.refresh();
    expect(list.problems).toEqual([PROBLEM]);
    expect(told).toHaveBeenCalledTimes(1);
    answer([], '/home/ada/projects/churn');
    await list.refresh();
    expect(list.problems).toEqual([]);
  });

  it.each([
    ['projects/churn', '/home/ada/projects/churn', 'projects/churn/mlenv.toml'],
    [
      'projects/churn/data',
      '/home/ada/projects/churn',
      'projects/churn/mlenv.toml'
    ],
    ['', '/home/ada/projects/churn', 'mlenv.toml'],
    ['elsewhere', '/home/ada/elsewhere', ''],
    ['work', null, '']
  ])('in %j of %j know their file as %j', async (path, workspace, known) => {
    answer([], workspace);
    await list.refresh(path);
    expect(list.contentsPath('/home/ada/projects/churn/mlenv.toml')).toBe(
      known
    );
  });
});
