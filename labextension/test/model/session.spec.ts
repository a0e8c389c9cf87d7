import { Model } from '../../src/model/model';
import { Session } from '../../src/model/session';
import { environment, job, Server, settled, Socket } from '../support';

const ID = 'python-0123456789';
const PENDING = environment({ state: 'pending', started: '' });

describe('a session', () => {
  let server: Server;
  let model: Model;

  beforeEach(() => {
    Socket.all = [];
    server = new Server();
    server.answers['POST environments'] = {
      status: 202,
      body: { environment: PENDING, job: job() }
    };
    server.answers[`POST environments/${ID}/start`] = {
      status: 202,
      body: { environment: environment(), job: job({ id: 'j2' }) }
    };
    server.answers[`GET environments/${ID}`] = { body: environment() };
    model = new Model(server.api);
    model.connect();
    Socket.last.open();
    Socket.last.snapshot();
  });

  afterEach(() => model.dispose());

  const say = (...args: Parameters<Socket['say']>) => Socket.last.say(...args);

  async function started(): Promise<Session> {
    const session = new Session(model, 'notebook');
    await session.start({ preset: 'python', path: '' });
    return session;
  }

  it('goes from the click over the job to the page', async () => {
    const session = new Session(model, 'notebook');
    const start = session.start({ preset: 'python', path: '' });
    expect(session.view).toMatchObject({ kind: 'working', job: null });
    await start;
    expect(session.id).toBe(ID);
    expect(session.view).toMatchObject({ kind: 'working', job: { id: 'j1' } });
    // The job's end overtakes the news of its environment.
    say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    expect(session.view).toMatchObject({
      kind: 'frame',
      url: `http://hub.example/user/alice%40b/mlenv/envs/${ID}/notebook/lab`
    });
    expect(server.count('POST', `environments/${ID}/start`)).toBe(0);
  });

  it('counts from when the job began, not from when it was seen', async () => {
    const session = await started();
    const view = session.view;
    const since = view.kind === 'working' ? view.since : 0;
    expect(Date.now() - since).toBeGreaterThanOrEqual(3000);
  });

  it('shows why it failed and tries again', async () => {
    const session = await started();
    const error = {
      code: 'build_failed',
      message: 'Step 3 failed.',
      hint: 'Fix it.',
      details: {},
      log: ['x']
    };
    say({ type: 'job', job: job({ state: 'failed', error }) });
    expect(session.view).toMatchObject({
      kind: 'failed',
      error: { message: 'Step 3 failed.', hint: 'Fix it.', log: ['x'] }
    });
    expect(session.lastJob).toBe('j1');
    await session.retry();
    expect(server.count('POST', 'environments')).toBe(2);
  });

  it('shows a refusal of the start itself', async () => {
    server.answers['POST environments'] = {
      status: 409,
      body: { code: 'gpu_unavailable', message: 'No GPU.', hint: '', log: [] }
    };
    const session = await started();
    expect(session.view).toMatchObject({
      kind: 'failed',
      error: { code: 'gpu_unavailable' }
    });
  });

  it('cancels, also before the server has answered', async () => {
    server.answers['DELETE jobs/j1'] = { body: {} };
    const session = new Session(model, 'notebook');
    const start = session.start({ preset: 'python', path: '' });
    await session.cancel();
    expect(session.view).toMatchObject({ cancelling: true });
    await start;
    expect(server.count('DELETE', 'jobs/j1')).toBe(1);
    say({ type: 'job', job: job({ state: 'cancelled' }) });
    expect(session.view.kind).toBe('cancelled');
  });

  it('is not fooled by a server that was restarted in the middle', async () => {
    const session = await started();
    Socket.last.snapshot();
    expect(session.view).toMatchObject({
      kind: 'failed',
      error: { code: 'job_lost' }
    });
  });

  it('says stopped when the environment stops, and starts nothing by itself', async () => {
    const session = await started();
    say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    say({
      type: 'environment',
      environment: environment({ state: 'stopped' })
    });
    await settled();
    expect(session.view.kind).toBe('stopped');
    expect(server.count('POST', `environments/${ID}/start`)).toBe(0);
  });

  it('takes the page away as soon as this page stops the environment', async () => {
    const session = await started();
    say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    let answer: (value: object) => void = () => undefined;
    server.answers[`POST environments/${ID}/stop`] = () =>
      new Promise(resolve => (answer = resolve));
    const stopping = model.stop(ID);
    expect(session.view.kind).toBe('ending');
    await settled();
    answer({ body: environment({ state: 'stopped' }) });
    await stopping;
    expect(session.view.kind).toBe('stopped');
  });

  it('shows the page again when a stop was refused', async () => {
    const session = await started();
    say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    server.answers[`POST environments/${ID}/stop`] = {
      status: 503,
      body: { code: 'engine_unavailable', message: 'No engine.' }
    };
    await expect(model.stop(ID)).rejects.toThrow('No engine.');
    expect(session.view.kind).toBe('frame');
  });

  it('prepares the page before it is shown', async () => {
    let prepared: () => void = () => undefined;
    const session = new Session(
      model,
      'notebook',
      '',
      () => new Promise(resolve => (prepared = resolve))
    );
    await session.start({ preset: 'python', path: '' });
    say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    expect(session.view.kind).toBe('working');
    prepared();
    await settled();
    expect(session.view.kind).toBe('frame');
  });

  it('says gone when the environment was removed', async () => {
    const session = await started();
    say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    say({ type: 'removed', id: ID });
    expect(session.view.kind).toBe('gone');
  });

  it('loads the page anew when somebody else restarted the environment', async () => {
    const session = await started();
    say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    const before = session.view;
    const again = environment({ started: '2026-01-01T09:00:00Z' });
    server.answers[`GET environments/${ID}`] = { body: again };
    say({ type: 'environment', environment: again });
    await settled();
    say({ type: 'job', job: job({ id: 'j2', state: 'done' }) });
    await settled();
    expect(session.view.kind).toBe('frame');
    expect(session.view).not.toEqual(before);
  });

  it('keeps the page when a snapshot does not know when it started', async () => {
    const session = await started();
    say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    const before = session.view;
    Socket.last.snapshot([environment({ started: '' })]);
    await settled();
    expect(session.view).toEqual(before);
    expect(server.count('POST', `environments/${ID}/start`)).toBe(0);
  });

  it('keeps the page while the engine is away', async () => {
    const session = await started();
    say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    server.answers['GET engine'] = {
      body: { available: false, facts: null, error: null }
    };
    say({ type: 'engine', state: 'disconnected' });
    await settled();
    Socket.last.snapshot();
    await settled();
    expect(session.view.kind).toBe('frame');
  });

  describe('restored', () => {
    const restored = () => {
      const session = new Session(model, 'notebook', ID);
      session.open();
      return session;
    };

    it('shows the page of an environment that runs', async () => {
      Socket.last.snapshot([environment()]);
      const session = restored();
      await settled();
      expect(session.view).toMatchObject({
        kind: 'working',
        job: { id: 'j2' }
      });
      say({ type: 'job', job: job({ id: 'j2', state: 'done' }) });
      await settled();
      expect(session.view.kind).toBe('frame');
    });

    it('offers to start one that is stopped', async () => {
      Socket.last.snapshot([environment({ state: 'stopped' })]);
      const session = restored();
      await settled();
      expect(session.view.kind).toBe('stopped');
      expect(server.count('POST', `environments/${ID}/start`)).toBe(0);
    });

    it('says so when there is none', () => {
      expect(restored().view.kind).toBe('gone');
    });

    it('follows the job that still works on it', () => {
      Socket.last.snapshot([PENDING], [job()]);
      expect(restored().view).toMatchObject({
        kind: 'working',
        job: { id: 'j1' }
      });
    });

    it('waits for the first snapshot', () => {
      const unsynced = new Model(server.api);
      const session = new Session(unsynced, 'notebook', ID);
      session.open();
      expect(session.view.kind).toBe('connecting');
      unsynced.dispose();
    });
  });
});
