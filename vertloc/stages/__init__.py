"""The method, one file per arrow: settings, the type it produces, one public function."""
