import { ServerConnection } from '@jupyterlab/services';

import { commonTheme, setTheme } from '../../src/tab/theme';

const INNER = 'http://hub.example/user/alice%40b/mlenv/envs/x-1/notebook/';
const URL = `${INNER}lab/api/settings/@jupyterlab/apputils-extension:themes`;

/** What a Lab with these user settings is asked to save. */
async function saved(chosen: object, theme: string): Promise<unknown[]> {
  const puts: unknown[] = [];
  const settings = ServerConnection.makeSettings({
    baseUrl: 'http://hub.example/user/alice%40b/',
    fetch: async info => {
      const request = info as Request;
      expect(decodeURIComponent(request.url.replace(/\?\d+$/, ''))).toBe(
        decodeURIComponent(URL)
      );
      if (request.method === 'PUT') {
        const { raw } = (await request.json()) as { raw: string };
        puts.push(JSON.parse(raw));
        return new Response(null, { status: 204 });
      }
      return new Response(JSON.stringify({ settings: chosen }));
    }
  });
  await setTheme(settings, INNER, theme);
  return puts;
}

describe('the theme of an inner Lab', () => {
  it('is one that every Lab has', () => {
    expect(commonTheme('JupyterLab Dark', false)).toBe('JupyterLab Dark');
    expect(commonTheme('Solarized Dark', false)).toBe('JupyterLab Dark');
    expect(commonTheme('Solarized Light', true)).toBe('JupyterLab Light');
  });

  it('is saved with what else was chosen there', async () => {
    expect(
      await saved({ 'theme-scrollbars': true }, 'JupyterLab Dark')
    ).toEqual([{ 'theme-scrollbars': true, theme: 'JupyterLab Dark' }]);
  });

  it('is left alone where it is the same already', async () => {
    expect(await saved({}, 'JupyterLab Light')).toEqual([]);
    expect(
      await saved({ theme: 'JupyterLab Dark' }, 'JupyterLab Dark')
    ).toEqual([]);
  });
});
