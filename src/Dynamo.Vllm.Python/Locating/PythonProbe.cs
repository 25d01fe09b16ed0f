using System.Diagnostics;
using System.Text.Json;

namespace Dynamo.Vllm.Python.Locating;

/// <summary>Asks an interpreter about itself, in a process of its own.</summary>
internal static class PythonProbe
{
    /// <summary>A wrapper such as a version manager's shim may be slow; a hung one must not hang the start.</summary>
    private static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(20);

    private const string Script = """
        import json, platform, sys, sysconfig
        v = sysconfig.get_config_var
        maps = []
        try:
            maps = sorted({line.split()[-1] for line in open('/proc/self/maps') if 'libpython' in line})
        except OSError:
            pass
        print(json.dumps({'executable': sys.executable, 'version': sys.version, 'major': sys.version_info[0], 'minor': sys.version_info[1],
            'implementation': platform.python_implementation(), 'bits': 64 if sys.maxsize > 2**32 else 32,
            'free_threaded': bool(v('Py_GIL_DISABLED')), 'libdir': v('LIBDIR') or '', 'multiarch': v('MULTIARCH') or '',
            'names': [n for n in (v('INSTSONAME'), v('LDLIBRARY')) if n and '.so' in n], 'libpl': v('LIBPL') or '',
            'base': sys.base_prefix, 'maps': maps}))
        """;

    /// <summary>The facts, or a reason why there are none.</summary>
    public static PythonFacts? Ask(string executable, out string problem)
    {
        problem = "";
        try
        {
            using var process = Start(executable);
            var output = process.StandardOutput.ReadToEndAsync();
            if (!process.WaitForExit(TimeLimit))
            {
                process.Kill(entireProcessTree: true);
                problem = $"{executable} did not answer within {TimeLimit.TotalSeconds:0} s";
                return null;
            }

            var facts = JsonSerializer.Deserialize(output.GetAwaiter().GetResult(), PythonFactsContext.Default.PythonFacts);
            problem = facts is null ? $"{executable} gave no answer" : "";
            return facts;
        }
        catch (Exception exception) when (exception is System.ComponentModel.Win32Exception or JsonException or InvalidOperationException)
        {
            problem = $"{executable} cannot be asked for its version ({exception.Message.ReplaceLineEndings(" ")})";
            return null;
        }
    }

    private static Process Start(string executable)
    {
        var start = new ProcessStartInfo(executable)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            UseShellExecute = false,
        };
        start.ArgumentList.Add("-I");
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add(Script);
        var process = Process.Start(start) ?? throw new InvalidOperationException("process did not start");
        process.StandardInput.Close();
        process.ErrorDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        return process;
    }
}
