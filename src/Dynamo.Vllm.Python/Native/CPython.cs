using System.Runtime.InteropServices;
using Dynamo.Vllm.Python.Platform;

namespace Dynamo.Vllm.Python.Native;

/// <summary>The part of the C API that the host uses, as function pointers out of one loaded libpython.</summary>
/// <remarks>
/// Every member needs the interpreter lock unless it says otherwise. References: "new" results are owned by the caller, who releases them
/// with <see cref="DecRef"/>; <see cref="TupleSetItem"/> steals.
/// </remarks>
internal sealed unsafe class CPython
{
    public readonly delegate* unmanaged[Cdecl]<void*, void> ConfigInitPython;
    public readonly delegate* unmanaged[Cdecl]<void*, void> ConfigInitIsolated;
    public readonly delegate* unmanaged[Cdecl]<void*, nint, byte**, PyStatus> ConfigSetBytesArgv;
    public readonly delegate* unmanaged[Cdecl]<void*, PyStatus> InitializeFromConfig;
    public readonly delegate* unmanaged[Cdecl]<void*, void> ConfigClear;
    public readonly delegate* unmanaged[Cdecl]<byte*, byte*, int, nint> CompileString;
    public readonly delegate* unmanaged[Cdecl]<byte*, nint, nint> ImportExecCodeModule;
    public readonly delegate* unmanaged[Cdecl]<byte*, nint> ModuleNew;
    public readonly delegate* unmanaged[Cdecl]<nint, byte*, nint> GetAttrString;
    public readonly delegate* unmanaged[Cdecl]<nint, byte*, nint, int> SetAttrString;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, nint> CallObject;
    public readonly delegate* unmanaged[Cdecl]<nint, nint> TupleNew;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, nint, int> TupleSetItem;
    public readonly delegate* unmanaged[Cdecl]<nint> DictNew;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, nint, int> DictSetItem;
    public readonly delegate* unmanaged[Cdecl]<byte*, nint, nint> UnicodeFromStringAndSize;
    public readonly delegate* unmanaged[Cdecl]<nint, nint*, byte*> UnicodeAsUtf8AndSize;
    public readonly delegate* unmanaged[Cdecl]<long, nint> LongFromLongLong;
    public readonly delegate* unmanaged[Cdecl]<byte*, nint, nint> BytesFromStringAndSize;
    public readonly delegate* unmanaged[Cdecl]<nint, PyBuffer*, int, int> GetBuffer;
    public readonly delegate* unmanaged[Cdecl]<PyBuffer*, void> BufferRelease;
    public readonly delegate* unmanaged[Cdecl]<PyMethodDef*, nint, nint, nint> CFunctionNewEx;
    public readonly delegate* unmanaged[Cdecl]<nint, byte*, void> ErrSetString;
    public readonly delegate* unmanaged[Cdecl]<void> ErrPrint;
    public readonly delegate* unmanaged[Cdecl]<nint, void> IncRef;
    public readonly delegate* unmanaged[Cdecl]<nint, void> DecRef;
    public readonly delegate* unmanaged[Cdecl]<nint> SaveThread;

    private CPython(nint library)
    {
        nint Symbol(string name)
        {
            var address = NativeLibc.DlSym(library, name);
            return address != 0 ? address : throw new InvalidOperationException($"libpython lacks {name}");
        }

        ConfigInitPython = (delegate* unmanaged[Cdecl]<void*, void>)Symbol("PyConfig_InitPythonConfig");
        ConfigInitIsolated = (delegate* unmanaged[Cdecl]<void*, void>)Symbol("PyConfig_InitIsolatedConfig");
        ConfigSetBytesArgv = (delegate* unmanaged[Cdecl]<void*, nint, byte**, PyStatus>)Symbol("PyConfig_SetBytesArgv");
        InitializeFromConfig = (delegate* unmanaged[Cdecl]<void*, PyStatus>)Symbol("Py_InitializeFromConfig");
        ConfigClear = (delegate* unmanaged[Cdecl]<void*, void>)Symbol("PyConfig_Clear");
        CompileString = (delegate* unmanaged[Cdecl]<byte*, byte*, int, nint>)Symbol("Py_CompileString");
        ImportExecCodeModule = (delegate* unmanaged[Cdecl]<byte*, nint, nint>)Symbol("PyImport_ExecCodeModule");
        ModuleNew = (delegate* unmanaged[Cdecl]<byte*, nint>)Symbol("PyModule_New");
        GetAttrString = (delegate* unmanaged[Cdecl]<nint, byte*, nint>)Symbol("PyObject_GetAttrString");
        SetAttrString = (delegate* unmanaged[Cdecl]<nint, byte*, nint, int>)Symbol("PyObject_SetAttrString");
        CallObject = (delegate* unmanaged[Cdecl]<nint, nint, nint>)Symbol("PyObject_CallObject");
        TupleNew = (delegate* unmanaged[Cdecl]<nint, nint>)Symbol("PyTuple_New");
        TupleSetItem = (delegate* unmanaged[Cdecl]<nint, nint, nint, int>)Symbol("PyTuple_SetItem");
        DictNew = (delegate* unmanaged[Cdecl]<nint>)Symbol("PyDict_New");
        DictSetItem = (delegate* unmanaged[Cdecl]<nint, nint, nint, int>)Symbol("PyDict_SetItem");
        UnicodeFromStringAndSize = (delegate* unmanaged[Cdecl]<byte*, nint, nint>)Symbol("PyUnicode_FromStringAndSize");
        UnicodeAsUtf8AndSize = (delegate* unmanaged[Cdecl]<nint, nint*, byte*>)Symbol("PyUnicode_AsUTF8AndSize");
        LongFromLongLong = (delegate* unmanaged[Cdecl]<long, nint>)Symbol("PyLong_FromLongLong");
        BytesFromStringAndSize = (delegate* unmanaged[Cdecl]<byte*, nint, nint>)Symbol("PyBytes_FromStringAndSize");
        GetBuffer = (delegate* unmanaged[Cdecl]<nint, PyBuffer*, int, int>)Symbol("PyObject_GetBuffer");
        BufferRelease = (delegate* unmanaged[Cdecl]<PyBuffer*, void>)Symbol("PyBuffer_Release");
        CFunctionNewEx = (delegate* unmanaged[Cdecl]<PyMethodDef*, nint, nint, nint>)Symbol("PyCFunction_NewEx");
        ErrSetString = (delegate* unmanaged[Cdecl]<nint, byte*, void>)Symbol("PyErr_SetString");
        ErrPrint = (delegate* unmanaged[Cdecl]<void>)Symbol("PyErr_Print");
        IncRef = (delegate* unmanaged[Cdecl]<nint, void>)Symbol("Py_IncRef");
        DecRef = (delegate* unmanaged[Cdecl]<nint, void>)Symbol("Py_DecRef");
        SaveThread = (delegate* unmanaged[Cdecl]<nint>)Symbol("PyEval_SaveThread");
        RuntimeError = *(nint*)Symbol("PyExc_RuntimeError");
        None = Symbol("_Py_NoneStruct");
    }

    /// <summary>Set only once the interpreter runs; read it after <see cref="RefreshExceptions"/>.</summary>
    public nint RuntimeError { get; private set; }

    /// <summary>Borrowed.</summary>
    public nint None { get; }

    /// <summary>Loads the library for good, with its symbols visible to the extension modules that Python will load.</summary>
    public static CPython Load(string path)
    {
        // RTLD_GLOBAL: distributions link extension modules without libpython, so they must find its symbols in the process.
        var handle = NativeLibc.DlOpen(path, NativeLibc.RtldNow | NativeLibc.RtldGlobal);
        return handle != 0
            ? new CPython(handle) { Handle = handle }
            : throw new InvalidOperationException($"{path} cannot be loaded: {NativeLibc.LastDlError()}");
    }

    public nint Handle { get; private init; }

    /// <summary>The exception objects exist only after initialization.</summary>
    public void RefreshExceptions() => RuntimeError = *(nint*)NativeLibc.DlSym(Handle, "PyExc_RuntimeError");
}

/// <summary>PyStatus of the initialization API.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PyStatus
{
    public int Type;
    public nint Function;
    public nint ErrorMessage;
    public int ExitCode;

    public readonly void Check(string step)
    {
        if (Type != 0)
        {
            throw new InvalidOperationException(
                $"Python did not start ({step}): {Marshal.PtrToStringUTF8(ErrorMessage) ?? $"exit code {ExitCode}"}"
            );
        }
    }
}

/// <summary>Py_buffer, whose size and first fields have been the same since Python 3.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PyBuffer
{
    public nint Data;
    public nint Object;
    public nint Length;
    public nint ItemSize;
    public int IsReadOnly;
    public int Dimensions;
    public nint Format;
    public nint Shape;
    public nint Strides;
    public nint SubOffsets;
    public nint Internal;
}

/// <summary>PyMethodDef. Must live as long as the function made of it, here: for ever.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PyMethodDef
{
    public nint Name;
    public nint Function;
    public int Flags;
    public nint Documentation;
}
