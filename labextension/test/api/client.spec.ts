import { MlenvError } from '../../src/api/client';
import { BASE, environment, job, Server } from '../support';

describe('the API', () => {
  it('asks again when a question was lost on the way', async () => {
    const server = new Server();
    let times = 0;
    server.answers['GET engine'] = () => {
      times += 1;
      if (times === 1) {
        throw new TypeError('Failed to fetch');
      }
      return { body: { available: true, facts: {}, error: null } };
    };
    expect((await server.api.engine()).available).toBe(true);
    expect(times).toBe(2);
  });

  it('does nothing twice by itself', async () => {
    const server = new Server();
    await expect(server.api.stop('x-1')).rejects.toMatchObject({
      code: 'server_unreachable'
    });
    expect(server.count('POST', 'environments/x-1/stop')).toBe(1);
  });

  it('keeps the encoding of the base URL and sends the request as JSON', async () => {
    const server = new Server();
    server.answers['POST environments'] = {
      status: 202,
      body: { environment: environment(), job: job() }
    };
    const request = { preset: 'python', path: 'my project' };
    const started = await server.api.start(request);
    expect(started.job.id).toBe('j1');
    expect(server.asked[0].url).toBe(`${BASE}mlenv/api/environments`);
    expect(server.asked[0].body).toEqual(request);
  });

  it('asks for the presets of a folder with any name', async () => {
    const server = new Server();
    await server.api.presets('a&b/ü');
    expect(server.asked[0].path).toBe('presets?path=a%26b%2F%C3%BC');
  });

  it('passes on what the server says went wrong', async () => {
    const server = new Server();
    server.answers['POST environments'] = {
      status: 409,
      body: {
        code: 'gpu_unavailable',
        message: 'No GPU.',
        hint: 'Use the CPU twin.',
        details: {},
        log: ['line']
      }
    };
    const failed = server.api.start({ preset: 'x', path: '' });
    await expect(failed).rejects.toBeInstanceOf(MlenvError);
    await expect(failed).rejects.toMatchObject({
      code: 'gpu_unavailable',
      message: 'No GPU.',
      hint: 'Use the CPU twin.',
      log: ['line'],
      status: 409
    });
  });

  it('has a plain sentence where the answer is no answer of ours', async () => {
    const server = new Server();
    server.answers['GET engine'] = { status: 403, text: '<h1>Forbidden</h1>' };
    await expect(server.api.engine()).rejects.toMatchObject({
      code: 'forbidden'
    });
    server.answers['GET engine'] = { status: 502, text: 'Bad gateway' };
    await expect(server.api.engine()).rejects.toMatchObject({
      message: expect.stringContaining('502') as string
    });
  });

  it('says so when the server is gone', async () => {
    const server = new Server();
    await expect(server.api.stop('nowhere')).rejects.toMatchObject({
      code: 'server_unreachable',
      status: 0
    });
  });

  it('accepts the empty answer of a removal', async () => {
    const server = new Server();
    server.answers['DELETE environments/e'] = { status: 200, text: '' };
    await expect(server.api.remove('e')).rejects.toBeInstanceOf(MlenvError);
    const settings = {
      ...server.settings,
      fetch: () => Promise.resolve(new Response(null, { status: 204 }))
    };
    Object.assign(server.api, { settings });
    await expect(server.api.remove('e')).resolves.toBeUndefined();
  });

  it('gives the watch its token as Lab does', () => {
    expect(new Server().api.watchUrl()).toBe(
      'ws://hub.example/user/alice%40b/mlenv/api/watch?token=a%20b'
    );
  });

  it('opens pages on the host of the server', () => {
    expect(new Server().api.address('/user/alice%40b/mlenv/envs/e/x/lab')).toBe(
      'http://hub.example/user/alice%40b/mlenv/envs/e/x/lab'
    );
  });
});
