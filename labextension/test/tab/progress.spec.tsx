import { nullTranslator } from '@jupyterlab/translation';
import React, { act } from 'react';
import { createRoot, Root } from 'react-dom/client';

import { MlenvError } from '../../src/api/client';
import { amount, bytes, clock, percent, plain } from '../../src/format';
import { environmentIcon, iconFor } from '../../src/icons';
import { LogView } from '../../src/tab/logview';
import {
  IProgressViewProps,
  Notice,
  ProgressView
} from '../../src/tab/progress';
import { progress } from '../support';

(globalThis as Record<string, unknown>).IS_REACT_ACT_ENVIRONMENT = true;

const trans = nullTranslator.load('jupyter_mlenv');

let node: HTMLElement;
let root: Root;

beforeEach(() => {
  node = document.createElement('div');
  document.body.appendChild(node);
  root = createRoot(node);
});

afterEach(() => {
  act(() => root.unmount());
  node.remove();
  jest.useRealTimers();
});

function show(element: JSX.Element): void {
  act(() => root.render(element));
}

function button(label: string): HTMLButtonElement {
  const found = [...node.querySelectorAll('button')].find(
    candidate => candidate.textContent === label
  );
  if (!found) {
    throw new Error(`no button "${label}" in ${node.innerHTML}`);
  }
  return found;
}

describe('numbers', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [412_300_000, '412 MB'],
    [999_600_000, '1.0 GB'],
    [1_210_000_000, '1.2 GB'],
    [9_960_000_000, '10 GB']
  ])('%d bytes', (count, text) => expect(bytes(count)).toBe(text));

  it.each([
    [7.9, '0:07'],
    [750, '12:30'],
    [3723, '1:02:03']
  ])('%d seconds', (seconds, text) => expect(clock(seconds)).toBe(text));

  it('says 100 % only when all is there', () => {
    expect(percent(progress({ fraction: 0.999 }))).toBe(99);
    expect(percent(progress({ fraction: 1 }))).toBe(100);
    expect(percent(progress())).toBeNull();
  });

  it('counts steps', () => {
    const steps = progress({ current: 3, total: 7, unit: 'steps' });
    expect(amount(steps, trans)).toBe('3 of 7 steps');
    expect(amount(progress(), trans)).toBe('');
  });

  it('takes colours out of a log line', () => {
    expect(plain('\x1b[32mok\x1b[0m\r')).toBe('ok');
  });
});

describe('the progress view', () => {
  const view = (changes: Partial<IProgressViewProps> = {}) => (
    <ProgressView
      icon={environmentIcon}
      title="Starting Python"
      detail="/home/ada/myproject"
      page="JupyterLab"
      progress={progress()}
      since={Date.now()}
      cancelling={false}
      showLog={false}
      hasLog={true}
      onCancel={() => undefined}
      onToggleLog={() => undefined}
      trans={trans}
      {...changes}
    />
  );

  const bar = () => node.querySelector('[role=progressbar]');

  it('shows phase, message, amount and percentage', () => {
    show(
      view({
        progress: progress({
          current: 412_000_000,
          total: 1_200_000_000,
          unit: 'bytes',
          fraction: 412 / 1200
        })
      })
    );
    expect(node.textContent).toContain('Pulling python:3.12');
    expect(node.textContent).toContain('412 MB of 1.2 GB · 34 %');
    expect(bar()?.getAttribute('aria-valuenow')).toBe('34');
    expect(node.querySelector('[aria-current=step]')?.textContent).toBe(
      'Download'
    );
  });

  it('goes on telling what was done when the next step is on', () => {
    show(view({ progress: progress({ phase: 'build' }) }));
    show(view({ progress: progress({ phase: 'start' }) }));
    const labels = [...node.querySelectorAll('li')].map(li => li.textContent);
    expect(labels).toEqual(['Prepare', 'Build', 'Start', 'JupyterLab']);
  });

  it('claims no percentage when the total is unknown', () => {
    show(view());
    expect(bar()?.hasAttribute('aria-valuenow')).toBe(false);
    expect(bar()?.className).toContain('jp-mod-indeterminate');
    expect(node.textContent).not.toContain('%');
  });

  it('says a new phase to a screen reader, and no bytes', () => {
    show(
      view({
        progress: progress({ phase: 'build', message: 'x', current: 5 })
      })
    );
    expect(node.querySelector('[aria-live=polite]')?.textContent).toBe(
      'Building'
    );
  });

  it('ticks', () => {
    jest.useFakeTimers();
    show(view({ since: Date.now() - 59_000 }));
    expect(node.querySelector('[role=timer]')?.textContent).toBe('0:59');
    act(() => jest.advanceTimersByTime(2000));
    expect(node.querySelector('[role=timer]')?.textContent).toBe('1:01');
  });

  it('cancels once', () => {
    const onCancel = jest.fn();
    show(view({ onCancel }));
    act(() => button('Cancel').click());
    expect(onCancel).toHaveBeenCalledTimes(1);
    show(view({ onCancel, cancelling: true }));
    expect(button('Cancel').disabled).toBe(true);
    expect(node.textContent).toContain('Cancelling…');
  });

  it('has the log one click away', () => {
    const onToggleLog = jest.fn();
    show(view({ onToggleLog }));
    act(() => button('Show log').click());
    expect(onToggleLog).toHaveBeenCalledTimes(1);
  });
});

describe('a failure', () => {
  it('shows message, hint, log and a way on', () => {
    const run = jest.fn();
    const error = new MlenvError({
      message: 'Step 3 failed.',
      hint: 'Run `make base` first.',
      log: ['\x1b[31mno such package\x1b[0m']
    });
    show(
      <Notice
        icon={environmentIcon}
        title="It failed"
        detail=""
        error={error}
        actions={[{ label: 'Try again', run, primary: true }]}
        trans={trans}
      />
    );
    expect(node.querySelector('[role=alert]')).not.toBeNull();
    expect(node.textContent).toContain('Step 3 failed.');
    expect(node.querySelector('code')?.textContent).toBe('make base');
    expect(node.querySelector('pre')?.textContent).toBe('no such package');
    act(() => button('Try again').click());
    expect(run).toHaveBeenCalledTimes(1);
  });
});

describe('the log view', () => {
  const view = (lines: string[]) => (
    <LogView title="Log" lines={lines} empty="Nothing yet." trans={trans} />
  );

  // jsdom lays nothing out: give the box the sizes of a filled one.
  function box(scrollHeight: number): HTMLPreElement {
    const pre = node.querySelector('pre')!;
    Object.defineProperty(pre, 'clientHeight', {
      value: 100,
      configurable: true
    });
    Object.defineProperty(pre, 'scrollHeight', {
      value: scrollHeight,
      configurable: true
    });
    return pre;
  }

  it('follows its end until the reader scrolls up', () => {
    show(view(['a']));
    const pre = box(500);
    show(view(['a', 'b']));
    expect(pre.scrollTop).toBe(500);
    act(() => {
      pre.scrollTop = 200;
      pre.dispatchEvent(new Event('scroll', { bubbles: true }));
    });
    box(600);
    show(view(['a', 'b', 'c']));
    expect(pre.scrollTop).toBe(200);
  });

  it('says so when it is empty', () => {
    show(view([]));
    expect(node.querySelector('pre')?.textContent).toBe('Nothing yet.');
  });
});

describe('icons', () => {
  it('marks a GPU and keeps the box for names it does not know', () => {
    expect(iconFor('pytorch', true).svgstr).not.toBe(iconFor('pytorch').svgstr);
    expect(iconFor('constructor')).toBe(environmentIcon);
    expect(iconFor('pytorch')).toBe(iconFor('pytorch'));
  });
});
