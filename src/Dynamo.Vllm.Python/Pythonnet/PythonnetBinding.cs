using System.Buffers;
using System.Runtime.InteropServices;
using Dynamo.Vllm.Python.Interpreter;
using Dynamo.Vllm.Python.Locating;
using Dynamo.Vllm.Python.Native;
using Python.Runtime;

namespace Dynamo.Vllm.Python.Pythonnet;

/// <summary>CPython through pythonnet, kept as thin as the own binding: the same module with the same two functions.</summary>
/// <remarks>Payloads cross as address and length, since pythonnet converts byte arrays element by element (python-host.md).</remarks>
internal sealed class PythonnetBinding : IPythonBinding
{
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

    public string? Run(PythonInstallation installation, GuestProgram program, IGuestPort port)
    {
        // Loaded before pythonnet does, which would load it without its symbols visible to extension modules.
        if (NativeLibc.DlOpen(installation.LibraryPath, NativeLibc.RtldNow | NativeLibc.RtldGlobal) == 0)
        {
            throw new InvalidOperationException($"{installation.LibraryPath} cannot be loaded: {NativeLibc.LastDlError()}");
        }

        Runtime.PythonDLL = installation.LibraryPath;
        PythonEngine.ProgramName = installation.Executable;
        PythonEngine.Initialize(setSysArgv: false, initSigs: false);
        try
        {
            return RunBootstrap(program, port);
        }
        finally
        {
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
