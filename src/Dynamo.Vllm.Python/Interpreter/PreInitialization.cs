using System.Runtime.InteropServices;
using Dynamo.Vllm.Python.Platform;

namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>What the program <c>python</c> does before it starts an interpreter, and <c>Py_Initialize</c> alone does not: it settles the
/// encodings (PEP 538 and 540).</summary>
/// <remarks>
/// Without it Python speaks ASCII where no locale is set, as in most containers: importing torch then fails, since it reads sources of its
/// own as text. Once per process, before anything else of the library is called.
/// </remarks>
internal static unsafe class PreInitialization
{
    /// <summary>PyPreConfig is ten ints in 3.10 to 3.14; the library fills it in.</summary>
    private const int ConfigBytes = 256;

    /// <exception cref="InvalidOperationException">The library does not take it.</exception>
    public static void Apply(nint library)
    {
        var fill = (delegate* unmanaged[Cdecl]<byte*, void>)NativeLibc.DlSym(library, "PyPreConfig_InitPythonConfig");
        var apply = (delegate* unmanaged[Cdecl]<byte*, Status>)NativeLibc.DlSym(library, "Py_PreInitialize");
        if (fill is null || apply is null)
        {
            throw new InvalidOperationException("Python did not start: its library lacks Py_PreInitialize");
        }

        var config = stackalloc byte[ConfigBytes];
        fill(config);
        var status = apply(config);
        if (status.Type != 0)
        {
            throw new InvalidOperationException(
                $"Python did not start: {Marshal.PtrToStringUTF8(status.Message) ?? $"exit code {status.ExitCode}"}"
            );
        }
    }

    /// <summary>PyStatus; zero is success.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private readonly struct Status
    {
        public readonly int Type;
        public readonly nint Function;
        public readonly nint Message;
        public readonly int ExitCode;
    }
}
