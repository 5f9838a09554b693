/** Names that other code may use: of commands, of the panel, of the settings. */

export const EXTENSION = 'jlab-compress';
export const PLUGIN = `${EXTENSION}:plugin`;
export const OUTPUTS = `${EXTENSION}:outputs`;
export const PANEL = 'jlab-compress-panel';

export const COMMANDS = { open: `${EXTENSION}:open` } as const;
