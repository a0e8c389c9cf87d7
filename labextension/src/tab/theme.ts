import { ServerConnection, SettingManager } from '@jupyterlab/services';

const THEMES = '@jupyterlab/apputils-extension:themes';

/** The themes that every Lab has. */
const EVERYWHERE = [
  'JupyterLab Light',
  'JupyterLab Dark',
  'JupyterLab Dark High Contrast'
];

/** The theme for a Lab that may not have the one installed here. */
export function commonTheme(theme: string, isLight: boolean): string {
  return EVERYWHERE.includes(theme) ? theme : EVERYWHERE[isLight ? 0 : 1];
}

/** Have the Lab at `baseUrl` start in a theme. Rejects if there is none, or it cannot be asked. */
export async function setTheme(
  settings: ServerConnection.ISettings,
  baseUrl: string,
  theme: string
): Promise<void> {
  const manager = new SettingManager({
    serverSettings: { ...settings, baseUrl, appUrl: 'lab' }
  });
  const answer: object = await manager.fetch(THEMES);
  const chosen =
    (answer as { settings?: Record<string, unknown> }).settings ?? {};
  if ((chosen.theme ?? EVERYWHERE[0]) !== theme) {
    await manager.save(THEMES, JSON.stringify({ ...chosen, theme }));
  }
}
