import { KEPT, LogBuffer } from '../../src/model/logbuffer';
import { Model } from '../../src/model/model';
import { BACKOFF } from '../../src/api/watch';
import { environment, job, Server, settled, Socket } from '../support';

describe('the log window', () => {
  it('keeps the last lines and knows what is missing', () => {
    const log = new LogBuffer();
    const lines = Array.from({ length: KEPT + 5 }, (_, i) => `line ${i}`);
    log.add(0, lines);
    expect(log.lines).toHaveLength(KEPT);
    expect(log.lines[0]).toBe('line 5');
    expect(log.missing).toBe(5);
  });

  it('drops what it has when lines are sent twice', () => {
    const log = new LogBuffer();
    log.add(0, ['a', 'b']);
    expect(log.add(0, ['a', 'b'])).toBe(false);
    log.add(1, ['b', 'c']);
    expect(log.lines).toEqual(['a', 'b', 'c']);
    expect(log.next).toBe(3);
  });

  it('does not glue two ends together over a gap', () => {
    const log = new LogBuffer();
    log.add(0, ['a']);
    log.add(10, ['k']);
    expect(log.lines).toEqual(['k']);
    expect(log.missing).toBe(10);
  });
});

describe('the model', () => {
  let server: Server;
  let model: Model;

  beforeEach(() => {
    Socket.all = [];
    server = new Server();
    model = new Model(server.api);
    model.connect();
  });

  afterEach(() => {
    model.dispose();
    jest.useRealTimers();
  });

  it('knows nothing before the snapshot and all after it', () => {
    Socket.last.open();
    expect(model.synced).toBe(false);
    Socket.last.snapshot([environment()], [job()]);
    expect(model.synced).toBe(true);
    expect(model.environments.map(e => e.id)).toEqual(['python-0123456789']);
    expect(model.runningJob('python-0123456789')?.id).toBe('j1');
  });

  it('applies deltas', () => {
    const changed = jest.fn();
    Socket.last.open();
    Socket.last.snapshot([environment()]);
    model.changed.connect(changed);
    const stopped = environment({ state: 'stopped' });
    Socket.last.say({ type: 'environment', environment: stopped });
    expect(model.environment(stopped.id)?.state).toBe('stopped');
    Socket.last.say({ type: 'removed', id: stopped.id });
    expect(model.environment(stopped.id)).toBeUndefined();
    expect(changed).toHaveBeenCalledTimes(2);
  });

  it('forgets what a new snapshot no longer has', () => {
    Socket.last.open();
    Socket.last.snapshot([environment()], [job()]);
    Socket.last.snapshot([environment({ id: 'other' })]);
    expect(model.environments.map(e => e.id)).toEqual(['other']);
    expect(model.job('j1')).toBeUndefined();
  });

  it('connects again with growing delays until the server is back', () => {
    jest.useFakeTimers();
    Socket.last.open();
    for (const delay of BACKOFF) {
      const before = Socket.all.length;
      Socket.last.close();
      expect(model.connected).toBe(false);
      jest.advanceTimersByTime(delay * 0.75 - 1);
      expect(Socket.all).toHaveLength(before);
      jest.advanceTimersByTime(delay * 0.5 + 2);
      expect(Socket.all).toHaveLength(before + 1);
    }
    Socket.last.open();
    expect(model.connected).toBe(true);
  });

  it('starts over with the shortest delay after a connection that held', () => {
    jest.useFakeTimers();
    Socket.last.close();
    jest.advanceTimersByTime(10000);
    Socket.last.close();
    jest.advanceTimersByTime(10000);
    Socket.last.open();
    jest.advanceTimersByTime(60000);
    const before = Socket.all.length;
    Socket.last.close();
    jest.advanceTimersByTime(BACKOFF[0] * 1.25 + 1);
    expect(Socket.all).toHaveLength(before + 1);
  });

  it('stays away once disposed', () => {
    jest.useFakeTimers();
    Socket.last.open();
    model.dispose();
    jest.advanceTimersByTime(60000);
    expect(Socket.all).toHaveLength(1);
  });

  it('follows a log across a lost connection without losing or doubling a line', () => {
    jest.useFakeTimers();
    Socket.last.open();
    Socket.last.snapshot([], [job()]);
    model.follow('j1');
    expect(Socket.last.sent).toEqual([{ type: 'follow', job: 'j1', since: 0 }]);
    Socket.last.say({ type: 'log', job: 'j1', from: 0, lines: ['a', 'b'] });
    Socket.last.close();
    jest.advanceTimersByTime(1000);
    Socket.last.open();
    Socket.last.snapshot([], [job()]);
    expect(Socket.last.sent).toEqual([{ type: 'follow', job: 'j1', since: 2 }]);
    Socket.last.say({ type: 'log', job: 'j1', from: 1, lines: ['b', 'c'] });
    expect(model.log('j1').lines).toEqual(['a', 'b', 'c']);
  });

  it('tells that kernels changed, also when it may have missed that', () => {
    const changed = jest.fn();
    model.kernelsChanged.connect(changed);
    Socket.last.open();
    Socket.last.snapshot();
    expect(changed).not.toHaveBeenCalled();
    Socket.last.say({ type: 'kernels' });
    expect(changed).toHaveBeenCalledTimes(1);
    jest.useFakeTimers();
    Socket.last.close();
    jest.advanceTimersByTime(1000);
    Socket.last.open();
    Socket.last.snapshot();
    expect(changed).toHaveBeenCalledTimes(2);
  });

  it('unfollows when the last reader has gone', () => {
    Socket.last.open();
    Socket.last.snapshot([], [job()]);
    const one = model.follow('j1');
    const two = model.follow('j1');
    one.dispose();
    expect(Socket.last.sent).toHaveLength(1);
    two.dispose();
    expect(Socket.last.sent[1]).toEqual({ type: 'unfollow', job: 'j1' });
  });

  it('does not let a slow answer overwrite newer news', () => {
    Socket.last.open();
    Socket.last.snapshot();
    Socket.last.say({ type: 'job', job: job({ state: 'done' }) });
    Socket.last.say({ type: 'environment', environment: environment() });
    model.adopt({
      environment: environment({ state: 'pending' }),
      job: job()
    });
    expect(model.job('j1')?.state).toBe('done');
    expect(model.environment('python-0123456789')?.state).toBe('running');
  });

  it('knows why the engine is away', async () => {
    Socket.last.open();
    Socket.last.snapshot();
    await settled();
    expect(model.engineDown).toBe(false);
    server.answers['GET engine'] = {
      body: {
        available: false,
        facts: null,
        error: { code: 'x', message: 'Away.', hint: '', details: {}, log: [] }
      }
    };
    Socket.last.say({ type: 'engine', state: 'disconnected' });
    expect(model.engineDown).toBe(true);
    await settled();
    expect(model.engine?.error?.message).toBe('Away.');
  });

  it('tells of presets only when they changed', async () => {
    const changed = jest.fn();
    model.presetsChanged.connect(changed);
    const presets = [
      { name: 'a', title: 'A', description: '', icon: '', gpu: false }
    ];
    server.answers['GET presets'] = {
      body: { presets, errors: [], workspace: null }
    };
    await model.refreshPresets();
    await model.refreshPresets();
    expect(changed).toHaveBeenCalledTimes(1);
    expect(model.preset('a')?.title).toBe('A');
  });

  it('shows the presets of the last folder asked for, whichever answer comes last', async () => {
    const preset = (name: string) => ({
      body: {
        presets: [{ name, title: name, description: '', icon: '', gpu: false }],
        errors: [],
        workspace: null
      }
    });
    let slow: (answer: { body: unknown }) => void = () => undefined;
    server.answers['GET presets'] = () =>
      new Promise(resolve => (slow = resolve));
    const first = model.refreshPresets('one');
    await settled();
    server.answers['GET presets'] = preset('two');
    await model.refreshPresets('two');
    slow(preset('one'));
    await first;
    expect(model.presets.map(p => p.name)).toEqual(['two']);
  });
});
