import { execFileSync } from 'node:child_process';
import {
  TARGETS,
  compressCode,
  exportCode,
  serveCode,
  shareCode,
  sweepCode,
  validateCode
} from '../../python/cells';
import { data, identifier, isIdentifier, literal } from '../../python/literals';

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
    return {
        "constants": [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)],
        "calls": [ast.unparse(n.func) for n in nodes if isinstance(n, ast.Call)],
    }
print(json.dumps([read(source) for source in json.load(sys.stdin)]))
`;

/** What Python reads in each source text: its string constants and the names of what it calls. */
function python(sources: string[]): { constants: string[]; calls: string[] }[] {
  const input = JSON.stringify(sources);
  return JSON.parse(execFileSync('python3', ['-c', PROGRAM], { input, encoding: 'utf8' }));
}

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
  it('compress reads as a person would write it', () => {
    const code = compressCode({
      model: 'net',
      widths: { '0': 64, 'a.b': 'polylog' },
      calibration: 'x_train',
      preserve: 'dynamics'
    });
    expect(code).toBe(
      'import jlab_compress\n\n' +
        'net_compression = jlab_compress.compress(\n' +
        '    net,\n' +
        '    {"0": 64, "a.b": "polylog"},\n' +
        '    calibration=x_train,\n' +
        ')\n' +
        'net_slim = net_compression.model\n' +
        'net_compression'
    );
  });

  it('a block name stays a string, whatever it holds', () => {
    const compress = HOSTILE.map(name =>
      compressCode({ model: 'net', calibration: 'x', preserve: 'dynamics', widths: { [name]: 4 } })
    );
    const sweep = HOSTILE.map(name => sweepCode({ model: 'net', calibration: 'x', blocks: [name] }));
    const share = HOSTILE.map(name =>
      shareCode({ model: 'net', calibration: 'x', parameters: 0.25, blocks: [name] })
    );
    const read = python([...compress, ...sweep, ...share]);
    expect(read.map(({ constants }) => constants)).toEqual(
      [...HOSTILE, ...HOSTILE, ...HOSTILE].map(name => [name])
    );
    expect(new Set(read.flatMap(({ calls }) => calls))).toEqual(
      new Set(['jlab_compress.compress', 'jlab_compress.sweep', 'jlab_compress.allocate_widths'])
    );
  });

  it.each(HOSTILE)('a model or value named %j never becomes a cell', name => {
    const widths = { '0': 4 };
    expect(() => compressCode({ model: name, widths, calibration: 'x', preserve: 'function' })).toThrow();
    expect(() => compressCode({ model: 'net', widths, calibration: name, preserve: 'function' })).toThrow();
    expect(() => data(`${name}, y`)).toThrow();
  });

  it('validate takes data by one name or by a pair', () => {
    const form = {
      model: 'net',
      slim: 'net_slim',
      batches: 'x_train, y_train',
      loss: 'cross_entropy',
      optimizer: 'SGD' as const,
      rate: 0.05,
      steps: 20,
      heldOut: 'x_test, y_test'
    };
    const code = validateCode(form);
    expect(code).toContain('list(zip(x_train.split(64), y_train.split(64)))');
    expect(code).toContain('held_out=(x_test, y_test)');
    expect(code).toContain('torch.nn.functional.cross_entropy');
    expect(python([code])[0].calls).toContain('jlab_compress.validate');
    expect(() => validateCode({ ...form, rate: NaN })).toThrow('finite');
    expect(() => validateCode({ ...form, loss: 'cross_entropy(x)' })).toThrow('is not a Python name');
  });

  const form = {
    model: 'net',
    slim: 'net_slim',
    example: 'x',
    target: 'onnx' as const,
    precision: 'float32' as const,
    path: 'a "b"\\c.onnx',
    replace: true
  };

  it('export quotes the path', () => {
    const code = exportCode(form);
    expect(python([code])[0].constants).toEqual(['a "b"\\c.onnx']);
    expect(code).toContain('overwrite=True');
    expect(code).toContain('original=net');
    expect(code).not.toContain('precision');
  });

  it.each(TARGETS)('export to %s and serving it are calls of one function each', target => {
    const [written, served] = python([exportCode({ ...form, target }), serveCode({ ...form, target })]);
    expect(written.calls).toHaveLength(1);
    expect(written.calls[0]).toMatch(/^jlab_compress\.export_(onnx|program|repository)$/);
    expect(served.calls).toEqual(['jlab_compress.serve_and_compare']);
  });

  it('a precision is named, and calibrated on the whole example', () => {
    expect(exportCode({ ...form, precision: 'float16' })).toContain('precision="float16"');
    const code = exportCode({ ...form, target: 'kserve', precision: 'int8 calibrated' });
    expect(code).toContain('precision="int8",\n    calibration=x,');
    expect(code).toContain('layout="kserve",\n    version="next"');
    expect(() => exportCode({ ...form, precision: 'int8 calibrated', example: 'x()' })).toThrow();
  });
});
