/** The user's settings, handed to the panel as they change. */

import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { DEFAULTS, IDefaults } from './host';
import { LabHost } from './labHost';
import { ActiveSession } from './session';
import { PLUGIN } from './tokens';

export async function followSettings(
  registry: ISettingRegistry,
  host: LabHost,
  session: ActiveSession
): Promise<void> {
  const settings = await registry.load(PLUGIN);
  const take = (): void => {
    const given = settings.composite as Partial<IDefaults> & { scan?: boolean };
    host.defaults = {
      width: given.width ?? DEFAULTS.width,
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
