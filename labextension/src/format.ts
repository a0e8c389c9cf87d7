import { TranslationBundle } from '@jupyterlab/translation';

import { IEnvironment, IProgress } from './api/protocol';

/** `412 MB`, in powers of 1000 as registries and disks count. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  const digits = unit > 0 && count < 9.95 ? 1 : 0;
  return `${count.toFixed(digits)} ${units[unit]}`;
}

/** `0:07`, `12:30`, `1:02:03`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  if (whole >= 3600) {
    parts.unshift(Math.floor(whole / 3600));
  }
  return parts
    .map((part, i) => (i ? String(part).padStart(2, '0') : String(part)))
    .join(':');
}

/** `412 MB of 1.2 GB`, `3 of 7 steps`; empty when nothing is counted. */
export function amount(progress: IProgress, trans: TranslationBundle): string {
  const { current, total, unit } = progress;
  if (unit === 'bytes') {
    if (total > 0) {
      return trans.__('%1 of %2', bytes(current), bytes(total));
    }
    return current > 0 ? bytes(current) : '';
  }
  if (total <= 0) {
    return '';
  }
  return unit === 'steps'
    ? trans.__('%1 of %2 steps', current, total)
    : trans.__('%1 of %2', current, total);
}

/** Whole per cent within the phase, `null` when unknown. 100 is only said when all is there. */
export function percent(progress: IProgress): number | null {
  if (progress.fraction !== null && progress.fraction !== undefined) {
    return Math.floor(progress.fraction * 100);
  }
  return null;
}

/** The last part of a path. */
export function basename(path: string): string {
  return path.split('/').filter(Boolean).pop() ?? '';
}

/** `myproject · Python`, with the name of a named environment; tabs and panels cut the end off. */
export function tabTitle(
  title: string,
  workspace: string,
  name: string,
  trans: TranslationBundle
): string {
  const folder = basename(workspace);
  const text = folder ? trans.__('%1 · %2', folder, title) : title;
  return name ? trans.__('%1 (%2)', text, name) : text;
}

/** One line that tells environments apart in a list. */
export function describe(
  environment: IEnvironment,
  trans: TranslationBundle
): string {
  return tabTitle(
    environment.title || environment.preset,
    environment.workspace,
    environment.name,
    trans
  );
}

export function stateLabel(
  environment: IEnvironment,
  trans: TranslationBundle
): string {
  switch (environment.state) {
    case 'pending':
    case 'starting':
      return trans.__('Starting');
    case 'running':
      return trans.__('Running');
    case 'failed':
      return trans.__('Failed');
    default:
      return trans.__('Stopped');
  }
}

// Colours and cursor movements of a terminal.
// eslint-disable-next-line no-control-regex
const ESCAPES = /\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-_])/g;

/** A log line as plain text. */
export function plain(line: string): string {
  return line.replace(ESCAPES, '').replace(/\r$/, '');
}
