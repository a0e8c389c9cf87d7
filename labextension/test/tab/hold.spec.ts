import { Signal } from '@lumino/signaling';

import { Hold } from '../../src/tab/hold';
import { Session } from '../../src/model/session';
import { View } from '../../src/model/view';
import { Unsaved } from '../../src/tab/unsaved';
import { environment, settled } from '../support';

const frame = (key: string): View => ({
  kind: 'frame',
  url: `/lab?${key}`,
  parts: '/',
  key
});
const SOME: Unsaved = { kind: 'some', names: ['a.ipynb'], canSave: true };
const STOPPED: View = { kind: 'stopped', environment: environment() };

describe('the page of a tab', () => {
  let unsaved: Unsaved;
  let hold: Hold;
  let see: (view: View) => Promise<void>;

  beforeEach(() => {
    unsaved = { kind: 'none' };
    const session = { view: { kind: 'connecting' } as View };
    const changed = new Signal<object, void>(session);
    hold = new Hold({ ...session, changed } as unknown as Session, () =>
      Promise.resolve(unsaved)
    );
    const held = hold as unknown as { _session: { view: View } };
    see = async view => {
      held._session.view = view;
      changed.emit();
      await settled();
    };
  });

  it('goes with its environment when all is saved', async () => {
    await see(frame('1'));
    expect(hold.shown).toMatchObject({ kind: 'live', page: { key: '1' } });
    await see(STOPPED);
    expect(hold.shown.kind).toBe('none');
    await see(frame('2'));
    expect(hold.shown).toMatchObject({ kind: 'live', page: { key: '2' } });
  });

  it('stays when something is unsaved, through all that follows', async () => {
    await see(frame('1'));
    unsaved = SOME;
    for (const kind of [
      'ending',
      'gone',
      'engine-down',
      'cancelled'
    ] as const) {
      await see({ kind });
      expect(hold.shown).toMatchObject({ kind: 'held', page: { key: '1' } });
    }
    await see(frame('2'));
    expect(hold.shown).toMatchObject({
      kind: 'back',
      page: { key: '1' },
      next: { key: '2' },
      canSave: true
    });
  });

  it('is there all the time while it is asked', async () => {
    await see(frame('1'));
    const asking = see(STOPPED);
    expect(hold.shown.kind).toBe('held');
    await asking;
    expect(hold.shown.kind).toBe('none');
  });

  it('is the same again after an end that did not come', async () => {
    await see(frame('1'));
    unsaved = SOME;
    await see({ kind: 'ending' });
    await see(frame('1'));
    expect(hold.shown).toMatchObject({ kind: 'live', page: { key: '1' } });
  });

  it('is loaded anew after a start when nothing is unsaved any more', async () => {
    await see(frame('1'));
    unsaved = SOME;
    await see(STOPPED);
    unsaved = { kind: 'none' };
    await see(frame('2'));
    expect(hold.shown).toMatchObject({ kind: 'live', page: { key: '2' } });
  });

  it('is loaded anew when the person says so', async () => {
    await see(frame('1'));
    unsaved = SOME;
    await see(STOPPED);
    await see(frame('2'));
    hold.reload();
    expect(hold.shown).toMatchObject({ kind: 'live', page: { key: '2' } });
  });

  it('is kept when the person says so, and asked again after the next stop', async () => {
    await see(frame('1'));
    unsaved = SOME;
    await see(STOPPED);
    await see(frame('2'));
    hold.keep();
    await see(frame('2'));
    expect(hold.shown).toMatchObject({ kind: 'live', page: { key: '1' } });
    await see(STOPPED);
    expect(hold.shown).toMatchObject({ kind: 'held', page: { key: '1' } });
    await see(frame('3'));
    expect(hold.shown).toMatchObject({ kind: 'back', next: { key: '3' } });
  });
});
