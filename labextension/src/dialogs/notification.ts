import { Notification } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

/** Lab cuts what a notification says after so many characters. */
const ROOM_CHARACTERS = 140;

/** What of a text fits into a notification. */
export function shortened(text: string): string {
  return text.length > ROOM_CHARACTERS
    ? `${text.slice(0, ROOM_CHARACTERS - 1)}…`
    : text;
}

/** The button behind which all of it is; the notification stays. */
export function details(
  show: () => void,
  trans: TranslationBundle
): Notification.IAction {
  return {
    label: trans.__('Details'),
    callback: event => {
      event.preventDefault();
      show();
    }
  };
}
