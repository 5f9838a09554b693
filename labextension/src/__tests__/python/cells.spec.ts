import { execFileSync } from 'node:child_process';
import commands from '../../../fixtures/commands.json';
import { ACTIONS, ActionName, TARGETS, choicesOf } from '../../python/actions';
import { IFields, Value, codeOf, nameOf, requestOf, widthsLiteral } from '../../python/cells';
import { data, identifier, isIdentifier, literal } from '../../python/literals';

const COMMANDS = commands.accepted;

const HOSTILE = [
  '"); import os; os.system("true") #',
  "'''",
  'a\nb',
  'back\\slash"quote',
  '</script><img src=x onerror=alert(1)>',
  '\u202Egnirts',
  'null\u0000byte\u0007',
  '\u2028line\u2029paragraph',
  'größe_模型_😀',
  '\ud800 alone',
  'x'.repeat(10000)
];

const PROGRAM = `
import ast, json, sys
def read(source):
    nodes = list(ast.walk(ast.parse(source.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))))
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    return {
        "constants": [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)],
        "calls": [ast.unparse(n.func) for n in calls],
        "keywords": [keyword.arg for n in calls[:1] for keyword in n.keywords],
    }
print(json.dumps([read(source) for source in json.load(sys.stdin)]))
`;

/** What Python reads in each source text: string constants, names of what it calls, keywords of the first call. */
function python(sources: string[]): { constants: string[]; calls: string[]; keywords: string[] }[] {
  const input = JSON.stringify(sources);
  return JSON.parse(execFileSync('python3', ['-c', PROGRAM], { input, encoding: 'utf8' }));
}

const code = (action: ActionName, fields: { [parameter: string]: Value | null }): string =>
  codeOf(requestOf(action, 'net', fields));

const RUN: IFields = { model: 'net', widths: { '0': 64, 'a.b': 'polylog' }, calibration: 'x_train' };
const VALIDATE: IFields = {
  original: 'net',
  slim: 'net_slim',
  batches: 'x_train, y_train',
  loss_fn: 'cross_entropy',
  optimizer: 'SGD',
  rate: 0.05,
  steps: 20,
  held_out: 'x_test, y_test'
};
const EXPORT: IFields = { slim: 'net_slim', example_inputs: 'x', path: 'a "b"\\c.onnx' };
const SERVE: IFields = { slim: 'net_slim', example_inputs: 'x', directory: 'models' };

it('a literal gives Python the same text back', () => {
  const read = python(HOSTILE.map(literal));
  expect(read.map(({ constants }) => constants)).toEqual(HOSTILE.map(text => [text]));
  HOSTILE.forEach(text => expect(literal(text)).not.toMatch(/[\n\r\u2028\u202E]/));
});

describe('identifier', () => {
  it.each(['net', '_x', 'größe', '模型', 'a1'])('takes %s', name => {
    expect(identifier(name)).toBe(name);
  });

  it.each([...HOSTILE, '', '1a', 'a b', 'a.b', 'lambda', 'None', 'a;b', 'f()', 'x'.repeat(201)])(
    'refuses %j',
    name => {
      expect(isIdentifier(name)).toBe(false);
      expect(() => identifier(name)).toThrow('is not a Python name');
    }
  );
});

describe('cells', () => {
  it.each(COMMANDS.map(({ command, cell }) => [command.op, command, cell] as const))(
    'the cell of %s is the one that both sides have agreed on',
    (_, { op, model, fields }, cell) => {
      expect(codeOf({ action: op as ActionName, model, fields: fields as unknown as IFields })).toBe(
        cell.join('\n')
      );
    }
  );

  it('there is an agreed cell for every action', () => {
    const agreed = new Set(COMMANDS.map(({ command }) => command.op));
    expect(Object.keys(ACTIONS).filter(action => action !== 'panel' && !agreed.has(action))).toEqual([]);
  });

  it('an argument behind one that is not given has its name', () => {
    const without = (name: string): IFields =>
      Object.fromEntries(Object.entries(VALIDATE).filter(([parameter]) => parameter !== name));
    expect(code('validate', without('loss_fn'))).toContain('y_train.split(64))),\n    optimizer=');
    expect(code('validate', without('batches'))).toContain(
      '    net_slim,\n    loss_fn=torch.nn.functional.cross_entropy,\n'
    );
  });

  it('an aim that is the default is not written down', () => {
    expect(code('run', { ...RUN, preserve: 'dynamics' })).toContain(
      '{"0": 64, "a.b": "polylog"},\n    calibration=x_train,\n)'
    );
  });

  it('many widths are one to a line, and read as the same', () => {
    const widths = Object.fromEntries(Array.from({ length: 9 }, (_, at) => [`encoder.${at}`, at + 1]));
    expect(widthsLiteral(widths).split('\n')).toHaveLength(11);
    expect(python([widthsLiteral(widths)])[0].constants).toEqual(Object.keys(widths));
  });

  it('the errors are predicted for the aim that is chosen', () => {
    const fields = { model: 'net', widths: ['0', 'a'], calibration: 'x' };
    expect(code('sweep', { ...fields, preserve: 'function' })).toContain('    preserve="function",\n');
    expect(code('sweep', { ...fields, preserve: 'dynamics' })).not.toContain('preserve');
  });

  it('each action is the call of its public function with arguments that it has', () => {
    const requests: [ActionName, IFields][] = [
      ['inspect', { model: 'net', example_inputs: 'x' }],
      ['run', { ...RUN, preserve: 'moments' }],
      ['sweep', { model: 'net', widths: ['0'], calibration: 'x', preserve: 'moments' }],
      ['allocate', { model: 'net', calibration: 'x', parameters: 0.25, blocks: ['0'] }],
      ['validate', VALIDATE],
      ['export', EXPORT],
      ['serve', { ...SERVE, layout: 'kserve', original: 'net', precision: 'float16' }]
    ];
    expect(requests.map(([action]) => action).sort()).toEqual(
      Object.keys(ACTIONS)
        .filter(action => action !== 'panel')
        .sort()
    );
    const read = python(requests.map(([action, fields]) => code(action, fields)));
    requests.forEach(([action], at) => {
      expect(read[at].calls[0]).toBe(`jlab_compress.${ACTIONS[action].function}`);
      const known = ACTIONS[action].fields.map(({ name }) => name);
      expect(known).toEqual(expect.arrayContaining(read[at].keywords));
      expect(code(action, requests[at][1])).toContain(`\n${nameOf('net', action)} = `);
    });
  });

  it('what is not given or the default anyway is neither written nor sent', () => {
    const request = requestOf('run', 'net', { ...RUN, preserve: 'dynamics', seed: 0, effort: null });
    expect(request).toEqual({ action: 'run', model: 'net', fields: RUN });
    expect(() => requestOf('run', 'net', { ...RUN, colour: 'blue' })).toThrow('compress has no colour');
  });

  it('a block name stays a string, whatever it holds', () => {
    const compress = HOSTILE.map(name => code('run', { ...RUN, widths: { [name]: 4 } }));
    const sweep = HOSTILE.map(name => code('sweep', { model: 'net', calibration: 'x', widths: [name] }));
    const allocate = HOSTILE.map(name =>
      code('allocate', { model: 'net', calibration: 'x', parameters: 0.25, blocks: [name] })
    );
    const read = python([...compress, ...sweep, ...allocate]);
    expect(read.map(({ constants }) => constants)).toEqual(
      [...HOSTILE, ...HOSTILE, ...HOSTILE].map(name => [name])
    );
    expect(new Set(read.flatMap(({ calls }) => calls))).toEqual(
      new Set(['jlab_compress.compress', 'jlab_compress.sweep', 'jlab_compress.allocate_widths'])
    );
  });

  it.each(HOSTILE)('a model, value, loss or optimizer named %j never becomes a cell', name => {
    expect(() => code('run', { ...RUN, model: name })).toThrow();
    expect(() => codeOf(requestOf('run', name, RUN))).toThrow();
    expect(() => code('run', { ...RUN, calibration: name })).toThrow();
    expect(() => code('validate', { ...VALIDATE, loss_fn: name })).toThrow();
    expect(() => code('validate', { ...VALIDATE, optimizer: name })).toThrow();
    expect(() => code('export', { ...EXPORT, example_inputs: name })).toThrow();
    expect(() => code('export', { ...EXPORT, target: name })).toThrow('nothing is written as');
    expect(() => data(`${name}, y`)).toThrow();
  });

  it.each(HOSTILE)('a path, a precision or a layout %j is text', text => {
    const written = code('export', { ...EXPORT, target: 'kserve', path: text, precision: text });
    const served = code('serve', { ...SERVE, directory: text, layout: text });
    const [first, second] = python([written, served]);
    expect(first.constants.filter(constant => constant === text)).toHaveLength(2);
    expect(second.constants.filter(constant => constant === text)).toHaveLength(2);
    expect([...first.calls, ...second.calls]).toEqual([
      'jlab_compress.export_repository',
      'jlab_compress.serve_and_compare'
    ]);
  });

  it('validate takes data by one name or by a pair', () => {
    const cell = code('validate', VALIDATE);
    expect(cell).toContain('import torch\n');
    expect(cell).toContain('    list(zip(x_train.split(64), y_train.split(64))),\n');
    expect(cell).toContain('held_out=(x_test, y_test)');
    expect(cell).toContain('    torch.nn.functional.cross_entropy,\n');
    expect(cell).toContain('optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.05)');
    expect(cell).not.toContain('rate=');
    expect(python([cell])[0].calls).toContain('jlab_compress.validate');
    expect(code('validate', { ...VALIDATE, batches: 'loader', loss_fn: 'own' })).toContain(
      '    loader,\n    own,\n'
    );
    expect(() => code('validate', { ...VALIDATE, rate: NaN })).toThrow('finite');
    expect(() => code('validate', { ...VALIDATE, loss_fn: 'cross_entropy(x)' })).toThrow(
      'is not a Python name'
    );
  });

  it('export quotes the path', () => {
    const cell = code('export', { ...EXPORT, overwrite: true, original: 'net' });
    expect(python([cell])[0].constants).toEqual([EXPORT.path]);
    expect(cell).toContain('overwrite=True');
    expect(cell).toContain('original=net');
    expect(cell).not.toContain('precision');
  });

  it.each(TARGETS)('export to $name is one call with what its function takes', target => {
    const cell = code('export', { ...EXPORT, path: 'there', target: target.name });
    const [written] = python([cell]);
    expect(written.calls).toEqual([`jlab_compress.${target.function}`]);
    expect(written.keywords).toEqual(target.folder ? ['layout', 'version'] : []);
    expect(written.constants).toContain('there');
    expect(written.constants.includes('net')).toBe(target.folder);
  });

  it('a precision is named, and calibrated on the whole example', () => {
    expect(code('export', { ...EXPORT, precision: 'float16' })).toContain('precision="float16"');
    const cell = code('export', { ...EXPORT, target: 'kserve', precision: 'int8', calibration: 'x' });
    expect(cell).toContain('precision="int8",\n    calibration=x,');
    expect(cell).toContain('    x[:8],\n');
    expect(cell).toContain('layout="kserve",\n    version="next"');
    expect(() => code('export', { ...EXPORT, calibration: 'x()' })).toThrow();
  });
});

it('every choice has words, and the default is one of them', () => {
  const fields = Object.entries(ACTIONS).flatMap(([action, { fields: all }]) =>
    all.filter(({ kind }) => kind === 'choice').map(field => [action, field] as const)
  );
  expect(fields.length).toBeGreaterThan(4);
  for (const [action, field] of fields) {
    const choices = choicesOf(action as ActionName, field.name);
    expect(choices.every(([value, words]) => value !== '' && words !== '')).toBe(true);
    if (field.default !== null) {
      expect(choices.map(([value]) => value)).toContain(field.default);
    }
  }
});
