import {
  ISessionContext,
  IWidgetTracker,
  Notification
} from '@jupyterlab/apputils';
import { Kernel, KernelMessage, Session } from '@jupyterlab/services';
import { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { revive } from './restart';
import { KERNEL_KEY } from '../ids';

/** Lab cuts what a notification says after so many characters. */
const ROOM = 140;

/** What comes with the output by which our server half tells of a kernel's end. */
interface IEnd {
  /** Why, in a sentence or two. */
  reason: string;
  /** Whether the server starts the kernel again by itself. */
  restarting: boolean;
}

interface ITold {
  notification: string;
  /** Who had the kernel: each has a connection of its own and hears of the end. */
  contexts: Set<ISessionContext>;
}

type Tracker = IWidgetTracker<Widget & { sessionContext: ISessionContext }>;

/** Tells of kernels that ended unasked: one notification for a kernel, until somebody has seen to it. */
export class KernelEnds {
  constructor(sessions: Session.IManager, trans: TranslationBundle) {
    this._sessions = sessions;
    this._trans = trans;
  }

  /** Watch the kernels of these documents, now and later. */
  watch(tracker: Tracker): void {
    tracker.forEach(widget => this._follow(widget.sessionContext));
    tracker.widgetAdded.connect((_, widget) =>
      this._follow(widget.sessionContext)
    );
  }

  /** Who had a kernel that ended, until somebody has seen to it. */
  having(kernel: string): ISessionContext[] {
    return [...(this._told.get(kernel)?.contexts ?? [])];
  }

  /** Two views of a notebook share a context, and a signal takes a slot only once. */
  private _follow(context: ISessionContext): void {
    context.iopubMessage.connect(this._onMessage, this);
    context.kernelChanged.connect(this._onSeenTo, this);
    context.disposed.connect(this._onSeenTo, this);
  }

  private _onMessage(
    context: ISessionContext,
    message: KernelMessage.IMessage
  ): void {
    const end = message.metadata[KERNEL_KEY] as unknown as IEnd | undefined;
    const kernel = context.session?.kernel;
    if (kernel && end?.reason) {
      this._tell(kernel, context, end);
    }
  }

  private _tell(
    { id, name }: Kernel.IModel,
    context: ISessionContext,
    end: IEnd
  ): void {
    const before = this._told.get(id);
    const contexts = (before?.contexts ?? new Set()).add(context);
    // A console for a notebook has the notebook's name.
    const names = new Set([...contexts].map(({ name }) => name));
    const message = text([...names].join(', '), end);
    const type = end.restarting ? 'warning' : 'error';
    const options = {
      autoClose: false as const,
      actions: end.restarting ? [] : [this._restartAction(name, contexts)]
    };
    let notification = before?.notification ?? '';
    if (Notification.manager.has(notification)) {
      Notification.update({ id: notification, message, type, ...options });
    } else {
      notification = Notification.emit(message, type, options);
    }
    this._told.set(id, { notification, contexts });
  }

  private _restartAction(
    name: string,
    contexts: ReadonlySet<ISessionContext>
  ): Notification.IAction {
    return {
      label: this._trans.__('Restart Kernel'),
      caption: this._trans.__(
        'Start the environment and a kernel in it; variables are lost'
      ),
      callback: () =>
        void this._restart(name, [...contexts]).catch(console.warn)
    };
  }

  /** `name`: of the kernel that ended. Lab's own `prevKernelName` may be that of one before it. */
  private async _restart(
    name: string,
    contexts: ISessionContext[]
  ): Promise<void> {
    // The server may have forgotten the session, which Lab notices only now and then.
    await this._sessions.refreshRunning().catch(() => undefined);
    await revive(name, contexts);
  }

  /** Another kernel, the same one restarted, which concerns all that have it, or closed. */
  private _onSeenTo(
    context: ISessionContext,
    change: { newValue: Kernel.IKernelConnection | null } | void
  ): void {
    for (const [kernel, { contexts, notification }] of this._told) {
      const restarted = change?.newValue?.id === kernel;
      if (contexts.delete(context) && (contexts.size === 0 || restarted)) {
        this._told.delete(kernel);
        Notification.dismiss(notification);
      }
    }
  }

  private _sessions: Session.IManager;
  private _told = new Map<string, ITold>();
  private _trans: TranslationBundle;
}

/** Whose kernel ended and why: whole sentences, as many as a notification shows. */
function text(names: string, { reason }: IEnd): string {
  const room = ROOM - names.length - 2;
  const cut = reason.slice(0, room + 1).lastIndexOf('. ');
  const short = reason.length > room && cut > 0;
  return `${names}: ${short ? reason.slice(0, cut + 1) : reason}`;
}
