using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Dynamo.Vllm.Python.Interpreter;
using Dynamo.Vllm.Python.Locating;

namespace Dynamo.Vllm.Python.Native;

/// <summary>CPython 3.10, which pythonnet has given up, through function pointers: the same module with the same two functions as
/// <see cref="EmbeddedPython"/> makes (docs/decisions/0002-python-binding.md).</summary>
internal static unsafe class NativeBinding
{
    private const int MethodNoArguments = 0x0004;
    private const int MethodOneArgument = 0x0008;
    private const int FileInput = 257; // Py_file_input
    private const int ConfigBytes = 8192; // PyConfig is below 600 bytes in 3.10-3.14; a zeroed block larger than any of them
    private const int InstallSignalHandlersIndex = 4; // after _config_init, isolated, use_environment, dev_mode

    // One interpreter per process, so its callbacks may find it here: unmanaged callers cannot carry an instance.
    private static CPython _python = null!;
    private static IGuestPort _port = null!;
    private static ArrayBufferWriter<byte> _taken = null!;

    /// <summary>As <see cref="EmbeddedPython.Run"/>.</summary>
    public static string? Run(PythonInstallation installation, GuestProgram program, IGuestPort port)
    {
        _python = CPython.Load(installation.LibraryPath);
        _port = port;
        _taken = new ArrayBufferWriter<byte>(1 << 16);
        Initialize(installation);
        try
        {
            var host = CreateHostModule(program);
            return RunBootstrap(host);
        }
        finally
        {
            // Whatever the guest did, other threads of it may still want the lock, and nothing here will run Python again.
            _python.SaveThread();
        }
    }

    private static void Initialize(PythonInstallation installation)
    {
        var config = (int*)NativeMemory.AllocZeroed(ConfigBytes);
        try
        {
            _python.ConfigInitIsolated(config);
            var isolated = config[InstallSignalHandlersIndex];
            _python.ConfigClear(config);
            NativeMemory.Clear(config, ConfigBytes);
            _python.ConfigInitPython(config);
            if (isolated != 0 || config[InstallSignalHandlersIndex] != 1)
            {
                throw new InvalidOperationException("layout of PyConfig is not the known one; this Python version is not supported");
            }

            // Signals are the host's. The arguments make sys.executable the real
            // interpreter, which spawned children run; -u keeps output unbuffered.
            config[InstallSignalHandlersIndex] = 0;
            SetArguments(config, [installation.Executable, "-u", "-c", "pass"]);
            _python.InitializeFromConfig(config).Check("initialize");
            _python.RefreshExceptions();
        }
        finally
        {
            _python.ConfigClear(config);
            NativeMemory.Free(config);
        }
    }

    private static void SetArguments(int* config, string[] arguments)
    {
        var pointers = stackalloc byte*[arguments.Length];
        for (var i = 0; i < arguments.Length; i++)
        {
            pointers[i] = (byte*)Marshal.StringToCoTaskMemUTF8(arguments[i]);
        }

        _python.ConfigSetBytesArgv(config, arguments.Length, pointers).Check("arguments");
        for (var i = 0; i < arguments.Length; i++)
        {
            Marshal.FreeCoTaskMem((nint)pointers[i]);
        }
    }

    private static nint CreateHostModule(GuestProgram program)
    {
        var modules = Own(_python.DictNew(), "dict");
        foreach (var (name, source) in program.Modules)
        {
            var key = Text(name);
            var value = Text(source);
            _python.DictSetItem(modules, key, value);
            _python.DecRef(key);
            _python.DecRef(value);
        }

        fixed (byte* name = "_dynamo_host\0"u8)
        {
            var host = Own(_python.ModuleNew(name), "module");
            SetAttribute(host, "modules\0"u8, modules);
            SetAttribute(host, "entry\0"u8, Text(program.EntryModule));
            SetAttribute(host, "settings\0"u8, Text(program.Settings));
            SetAttribute(host, "eventfd\0"u8, Own(_python.LongFromLongLong(_port.EventFd), "int"));
            SetAttribute(host, "take\0"u8, Function("take", (nint)(delegate* unmanaged[Cdecl]<nint, nint, nint>)&Take, MethodNoArguments));
            SetAttribute(host, "post\0"u8, Function("post", (nint)(delegate* unmanaged[Cdecl]<nint, nint, nint>)&Post, MethodOneArgument));
            return host;
        }
    }

    private static string? RunBootstrap(nint host)
    {
        var source = Encoding.UTF8.GetBytes(Bootstrap.Source + "\0");
        fixed (
            byte* text = source,
                file = "<bootstrap>\0"u8,
                name = "_dynamo_bootstrap\0"u8,
                run = "run\0"u8
        )
        {
            var code = Own(_python.CompileString(text, file, FileInput), "compile the bootstrap");
            var module = Own(_python.ImportExecCodeModule(name, code), "import the bootstrap");
            var function = Own(_python.GetAttrString(module, run), "find run");
            var arguments = Own(_python.TupleNew(1), "tuple");
            _python.TupleSetItem(arguments, 0, host); // host is now owned by the tuple
            var result = Own(_python.CallObject(function, arguments), "call run");
            _python.DecRef(arguments);
            _python.DecRef(function);
            _python.DecRef(module);
            _python.DecRef(code);
            var failure = result == _python.None ? null : ReadText(result);
            _python.DecRef(result);
            return failure;
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nint Take(nint self, nint arguments)
    {
        try
        {
            _taken.ResetWrittenCount();
            _port.Take(_taken);
            fixed (byte* data = _taken.WrittenSpan)
            {
                return _python.BytesFromStringAndSize(data, _taken.WrittenCount);
            }
        }
        catch (Exception exception)
        {
            return Raise(exception);
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nint Post(nint self, nint argument)
    {
        PyBuffer view;
        if (_python.GetBuffer(argument, &view, 0) != 0)
        {
            return 0; // the exception is set
        }

        try
        {
            _port.Post(new ReadOnlySpan<byte>((void*)view.Data, checked((int)view.Length)));
            _python.IncRef(_python.None);
            return _python.None;
        }
        catch (Exception exception)
        {
            return Raise(exception);
        }
        finally
        {
            _python.BufferRelease(&view);
        }
    }

    // Boundary mapping (style E3): no .NET exception may pass into Python's frames.
    private static nint Raise(Exception exception)
    {
        fixed (byte* text = Encoding.UTF8.GetBytes($"host: {exception.GetType().Name}: {exception.Message}\0"))
        {
            _python.ErrSetString(_python.RuntimeError, text);
        }

        return 0;
    }

    private static nint Function(string name, nint function, int flags)
    {
        var definition = (PyMethodDef*)NativeMemory.AllocZeroed((nuint)sizeof(PyMethodDef)); // never freed: the function refers to it
        definition->Name = Marshal.StringToCoTaskMemUTF8(name);
        definition->Function = function;
        definition->Flags = flags;
        return Own(_python.CFunctionNewEx(definition, 0, 0), name);
    }

    private static void SetAttribute(nint target, ReadOnlySpan<byte> name, nint owned)
    {
        fixed (byte* text = name)
        {
            _python.SetAttrString(target, text, owned);
        }

        _python.DecRef(owned);
    }

    private static nint Text(string value)
    {
        var bytes = Encoding.UTF8.GetBytes(value);
        fixed (byte* data = bytes)
        {
            return Own(_python.UnicodeFromStringAndSize(data, bytes.Length), "str");
        }
    }

    private static string ReadText(nint text)
    {
        nint length;
        var data = _python.UnicodeAsUtf8AndSize(text, &length);
        return data is null ? "unreadable traceback" : Encoding.UTF8.GetString(data, (int)length);
    }

    private static nint Own(nint reference, string step)
    {
        if (reference != 0)
        {
            return reference;
        }

        _python.ErrPrint();
        throw new InvalidOperationException($"Python failed to {step}; its error was printed to stderr");
    }
}
