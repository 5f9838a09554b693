/** The user's settings, handed to the panel as they change. */

import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { DEFAULTS, IDefaults } from '../host';
import { Width } from '../model/plan';
import { PLUGIN } from '../tokens';
import { LabHost } from './host';
import { ActiveSession } from './session';

const WIDTHS = new Map<string | undefined, Width>([
  ['half', 1 / 2],
  ['quarter', 1 / 4],
  ['eighth', 1 / 8],
  ['sixteenth', 1 / 16],
  ['polylog', 'polylog']
]);

export async function followSettings(
  registry: ISettingRegistry,
  host: LabHost,
  session: ActiveSession
): Promise<void> {
  const settings = await registry.load(PLUGIN);
  const take = (): void => {
    const given = settings.composite as Partial<Omit<IDefaults, 'width'>> & {
      scan?: boolean;
      width?: string;
    };
    host.defaults = {
      width: WIDTHS.get(given.width) ?? DEFAULTS.width,
      tolerance: given.tolerance ?? DEFAULTS.tolerance,
      steps: given.steps ?? DEFAULTS.steps,
      target: given.target ?? DEFAULTS.target
    };
    session.scan = given.scan ?? true;
  };
  host.onScan = () => void settings.set('scan', true);
  settings.changed.connect(take);
  take();
}
