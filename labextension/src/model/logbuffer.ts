/** Log lines kept in the page, as many as the server keeps per job. */
export const KEPT = 2000;

/** A numbered window on a growing log: the last `KEPT` lines. */
export class LogBuffer {
  /** The number of the next line; what to ask the server for after a lost connection. */
  get next(): number {
    return this._next;
  }

  get lines(): readonly string[] {
    return this._lines;
  }

  /** Lines that are no longer, or never were, in this window. */
  get missing(): number {
    return this._next - this._lines.length;
  }

  /** Add lines that start at number `from`. Lines that are already here are dropped, so that a replay is harmless. */
  add(from: number, lines: readonly string[]): boolean {
    const known = Math.max(0, this._next - from);
    if (known >= lines.length) {
      return false;
    }
    if (from > this._next) {
      // The server no longer has the lines in between: a gap inside a log would mislead.
      this._lines = [];
    }
    this._lines = this._lines.concat(lines.slice(known)).slice(-KEPT);
    this._next = from + lines.length;
    return true;
  }

  private _lines: string[] = [];
  private _next = 0;
}
