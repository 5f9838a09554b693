import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Signal } from '@lumino/signaling';
import schema from '../../../schema/plugin.json';
import { DEFAULTS } from '../../host';
import { LabHost } from '../../lab/host';
import { ActiveSession } from '../../lab/session';
import { followSettings } from '../../lab/settings';
import { TARGETS } from '../../python/actions';
import { PLUGIN } from '../../tokens';

class FakeSettings {
  readonly changed = new Signal<this, void>(this);
  composite: { [key: string]: unknown } = {};
  readonly set = jest.fn(async () => undefined);

  become(composite: { [key: string]: unknown }): void {
    this.composite = composite;
    this.changed.emit();
  }
}

async function followed(composite: { [key: string]: unknown } = {}): Promise<{
  settings: FakeSettings;
  host: { defaults?: unknown; onScan: () => void };
  session: { scan?: boolean };
}> {
  const settings = new FakeSettings();
  settings.composite = composite;
  const registry = { load: jest.fn(async () => settings) };
  const host = { onScan: () => undefined };
  const session = {};
  await followSettings(
    registry as unknown as ISettingRegistry,
    host as unknown as LabHost,
    session as ActiveSession
  );
  expect(registry.load).toHaveBeenCalledWith(PLUGIN);
  return { settings, host, session };
}

it('hands on what is set, and what the panel has without settings', async () => {
  const { settings, host, session } = await followed();
  expect(host.defaults).toEqual(DEFAULTS);
  expect(session.scan).toBe(true);
  settings.become({ width: 'sixteenth', tolerance: 5, steps: 10, target: 'kserve', scan: false });
  expect(host.defaults).toEqual({ width: 1 / 16, tolerance: 5, steps: 10, target: 'kserve' });
  expect(session.scan).toBe(false);
  settings.become({ width: 'polylog' });
  expect(host.defaults).toMatchObject({ width: 'polylog', steps: DEFAULTS.steps });
});

it('a width that nobody knows is the usual one', async () => {
  expect((await followed({ width: 'toString' })).host.defaults).toEqual(DEFAULTS);
});

it('listing that is switched on in the panel is switched on in the settings', async () => {
  const { settings, host } = await followed({ scan: false });
  host.onScan();
  expect(settings.set).toHaveBeenCalledWith('scan', true);
});

it('the schema knows the same widths, targets and defaults', async () => {
  const { width, tolerance, steps, target } = schema.properties;
  const named = await Promise.all(
    width.oneOf.map(async ({ const: name }) => (await followed({ width: name })).host.defaults)
  );
  expect(named.map(defaults => (defaults as typeof DEFAULTS).width)).toEqual([
    1 / 2,
    1 / 4,
    1 / 8,
    1 / 16,
    'polylog'
  ]);
  expect(target.oneOf.map(({ const: name }) => name)).toEqual(TARGETS.map(({ name }) => name));
  const defaults = {
    width: width.default,
    tolerance: tolerance.default,
    steps: steps.default,
    target: target.default
  };
  expect((await followed(defaults)).host.defaults).toEqual(DEFAULTS);
});
