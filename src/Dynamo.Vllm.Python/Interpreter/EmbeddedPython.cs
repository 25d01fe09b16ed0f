using System.Buffers;
using System.Runtime.InteropServices;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Python.Platform;
using Python.Runtime;

namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>
/// CPython by pythonnet. One module with two functions is the whole border: everything else is the guest's own Python
/// (docs/decisions/0002-python-binding.md).
/// </summary>
/// <remarks>Payloads cross as address and length, since pythonnet converts byte arrays element by element.</remarks>
internal static class EmbeddedPython
{
    /// <summary>The oldest Python 3 that pythonnet 3.2 knows.</summary>
    public const int MinorMin = 11;

    /// <summary>Wraps the delegates so that the guest sees <c>take() -> bytes</c> and <c>post(buffer)</c>.</summary>
    private const string Adapter = """
        import ctypes


        def adapt(host, take, post):
            def take_bytes():
                length = take()
                return ctypes.string_at(host.taken_address(), length) if length else b''

            host.take = take_bytes
            host.post = post
        """;

    /// <summary>Starts the interpreter on the calling thread, runs the guest
    /// to its end and releases the interpreter lock for good.</summary>
    /// <returns>Null if the guest returned, else its traceback.</returns>
    /// <remarks>Called once per process, on the one Python thread. Never
    /// finalizes: that hangs or crashes with loaded extension modules.</remarks>
    public static string? Run(PythonInstallation installation, GuestProgram program, IGuestPort port)
    {
        // Loaded before pythonnet does, which would load it without its symbols visible to extension modules.
        var library = NativeLibc.DlOpen(installation.LibraryPath, NativeLibc.RtldNow | NativeLibc.RtldGlobal);
        if (library == 0)
        {
            throw new InvalidOperationException($"{installation.LibraryPath} cannot be loaded: {NativeLibc.LastDlError()}");
        }

        PreInitialization.Apply(library);
        Runtime.PythonDLL = installation.LibraryPath;
        PythonEngine.ProgramName = installation.Executable;
        PythonEngine.Initialize(setSysArgv: false, initSigs: false);
        try
        {
            return RunBootstrap(program, port);
        }
        finally
        {
            // Whatever the guest did, other threads of it may still want the lock, and nothing here will run Python again.
            PythonEngine.BeginAllowThreads();
        }
    }

    private static unsafe string? RunBootstrap(GuestProgram program, IGuestPort port)
    {
        var taken = new ArrayBufferWriter<byte>(1 << 16);
        GCHandle pinned = default;
        long TakenAddress()
        {
            // Pinned until the next take: the guest copies at once, on this thread.
            if (pinned.IsAllocated)
            {
                pinned.Free();
            }

            MemoryMarshal.TryGetArray(taken.WrittenMemory, out var segment);
            pinned = GCHandle.Alloc(segment.Array, GCHandleType.Pinned);
            return pinned.AddrOfPinnedObject() + segment.Offset;
        }

        int Take()
        {
            taken.ResetWrittenCount();
            return port.Take(taken);
        }

        void Post(PyObject buffer)
        {
            using var view = buffer.GetBuffer(PyBUF.SIMPLE);
            port.Post(new ReadOnlySpan<byte>((void*)view.Buffer, checked((int)view.Length)));
            buffer.Dispose();
        }

        using var bootstrap = PyModule.FromString(Bootstrap.ModuleName, Bootstrap.Source);
        using var adapter = PyModule.FromString("_dynamo_adapter", Adapter);
        using var host = new PyModule("_dynamo_host");
        using var modules = new PyDict();
        foreach (var (name, source) in program.Modules)
        {
            modules[name] = new PyString(source);
        }

        host.Set("modules", modules);
        host.Set("entry", program.EntryModule);
        host.Set("settings", program.Settings);
        host.Set("eventfd", port.EventFd);
        host.Set("taken_address", ((Func<long>)TakenAddress).ToPython());
        adapter.InvokeMethod("adapt", host, ((Func<int>)Take).ToPython(), ((Action<PyObject>)Post).ToPython());
        using var result = bootstrap.InvokeMethod("run", host);
        return result.IsNone() ? null : result.As<string>();
    }
}
