/** One sentence for each situation, and the next step. */

import * as React from 'react';
import { HostAction, ITrans, Situation } from '../host';
import { CopyButton } from './parts/fields';
import { shown } from './parts/format';
import { useHostState, usePanel } from './state/context';

interface ICard {
  sentence: string;
  next?: string;
  code?: string;
  action?: [HostAction, string];
  waiting?: boolean;
}

export function SituationCard(): JSX.Element {
  const { host, trans } = usePanel();
  const situation = useHostState(state => state.situation);
  const torch = useHostState(({ state }) => state?.torch !== false);
  const { sentence, next, code, action, waiting } = cardOf(situation, torch, trans);
  return (
    <div className="jlc-Situation" role="status">
      {waiting && <span className="jlc-Spinner" aria-hidden="true" />}
      <div>
        <p className="jlc-Situation-sentence">{sentence}</p>
        {next !== undefined && <p className="jlc-quiet">{next}</p>}
        {code !== undefined && (
          <div className="jlc-Copyable">
            <code>{code}</code>
            <CopyButton text={code} />
          </div>
        )}
        {action !== undefined && (
          <button type="button" className="jlc-Button" onClick={() => host.act(action[0])}>
            {action[1]}
          </button>
        )}
      </div>
    </div>
  );
}

function cardOf(situation: Situation, torch: boolean, trans: ITrans): ICard {
  const again: ICard['action'] = ['connect', trans.__('Try again')];
  const choose: ICard['action'] = ['choose-kernel', trans.__('Choose a kernel')];
  switch (situation.kind) {
    case 'no-notebook':
      return card(
        trans.__('No notebook is open.'),
        trans.__('The torch models of the notebook that you work in appear here.'),
        ['open-notebook', trans.__('New notebook')]
      );
    case 'no-kernel':
      return card(
        trans.__('This notebook has no kernel.'),
        trans.__('Models are objects of a kernel; choose one to see them.'),
        choose
      );
    case 'other-language':
      return card(
        trans.__('This kernel runs %1.', shown(situation.language, 40)),
        trans.__('Torch models are read from Python kernels only.'),
        choose
      );
    case 'starting':
      return waiting(trans.__('The kernel is starting.'));
    case 'busy':
      return waiting(
        trans.__('The kernel is running a cell.'),
        trans.__('The list refreshes when it is idle.')
      );
    case 'restarting':
      return waiting(
        trans.__('The kernel is restarting.'),
        trans.__('Its models are gone; run the cells that make them again.')
      );
    case 'offline':
      return waiting(
        trans.__('The connection to the kernel is lost.'),
        trans.__('The list refreshes as soon as it is back.')
      );
    case 'dead':
      return card(trans.__('The kernel has died.'), trans.__('What it held is lost; the notebook is not.'), [
        'restart-kernel',
        trans.__('Restart the kernel')
      ]);
    case 'missing':
      return {
        sentence: trans.__('The package jlab-compress is missing in this kernel.'),
        next: trans.__('Run this line in a cell, then try again:'),
        code: '%pip install jlab-compress',
        action: again
      };
    case 'outdated':
      return {
        sentence: trans.__('The package in this kernel does not fit this panel.'),
        next: trans.__('Run this line in a cell, restart the kernel and try again:'),
        code: '%pip install --upgrade jlab-compress',
        action: again
      };
    case 'fault':
      return card(
        trans.__('The kernel could not list its models.'),
        shown(situation.message, 300) || trans.__('It did not answer.'),
        again
      );
    case 'scan-off':
      return card(trans.__('Listing live models is switched off in the settings.'), undefined, [
        'switch-scan-on',
        trans.__('Switch it on')
      ]);
    case 'ready':
      return !torch
        ? card(
            trans.__('torch is not imported in this kernel yet.'),
            trans.__('Run a cell that makes a model; it appears here at once.')
          )
        : card(
            trans.__('There is no torch model in this kernel.'),
            trans.__('Run a cell that assigns a torch.nn.Module to a variable; it appears here at once.')
          );
  }
}

function card(sentence: string, next?: string, action?: ICard['action']): ICard {
  return { sentence, next, action };
}

function waiting(sentence: string, next?: string): ICard {
  return { sentence, next, waiting: true };
}
