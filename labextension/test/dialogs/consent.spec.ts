import { Dialog } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';

import { agree } from '../../src/dialogs/consent';
import { IConsent } from '../../src/api/protocol';
import { press, Server, settled, shownDialog } from '../support';

const trans = nullTranslator.load('jupyter_mlenv');
const CONSENT: IConsent = {
  file: '/home/ada/cloned/mlenv.toml',
  folder: '/home/ada/cloned',
  digest: 'a'.repeat(64),
  says: [
    'The build runs: <img src=x onerror=alert(1)>',
    'It reaches the network.'
  ]
};

describe('agreeing to what a project brings along', () => {
  let server: Server;

  beforeEach(() => {
    server = new Server();
    server.answers['POST consents'] = { status: 204, text: '' };
  });

  afterEach(() => Dialog.flush());

  const answers = () => agree(server.api, CONSENT, trans);

  it('shows file and sentences as they are, and sends what was seen', async () => {
    const agreed = answers();
    const text = await shownDialog(CONSENT.file);
    expect(text).toContain('The build runs: <img src=x onerror=alert(1)>');
    expect(document.querySelector('.jp-Dialog img')).toBeNull();
    await press('Agree and start');
    await expect(agreed).resolves.toBe(true);
    expect(server.asked[0].body).toEqual({
      folder: CONSENT.folder,
      digest: CONSENT.digest
    });
  });

  it('sends nothing for a no, which is what Return says', async () => {
    const agreed = answers();
    await shownDialog('Cancel');
    while (document.activeElement === document.body) {
      await settled();
    }
    expect(document.activeElement?.textContent).toBe('Cancel');
    await press('Cancel');
    await expect(agreed).resolves.toBe(false);
    expect(server.asked).toEqual([]);
  });

  it('shows what has changed meanwhile, and sends that', async () => {
    const fresh = { ...CONSENT, digest: 'b'.repeat(64), says: ['It is new.'] };
    const error = { code: 'consent_required', message: 'No.' };
    server.answers['POST consents'] = body =>
      (body as IConsent).digest === fresh.digest
        ? { status: 204, text: '' }
        : {
            status: 409,
            body: { ...error, details: { consent: fresh } }
          };
    const agreed = answers();
    await press('Agree and start');
    expect(await shownDialog('changed meanwhile')).toContain('It is new.');
    await press('Agree and start');
    await expect(agreed).resolves.toBe(true);
  });

  it('fails where the answer cannot be kept', async () => {
    server.answers['POST consents'] = {
      status: 500,
      body: { code: 'error', message: 'The disk is full.' }
    };
    const agreed = expect(answers()).rejects.toThrow('The disk is full.');
    await press('Agree and start');
    await agreed;
  });
});
